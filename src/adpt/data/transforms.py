"""From a decoded picture to a tensor of the configured size, and from a score map back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from adpt.errors import UserError

Size = tuple[int, int]


class Geometry:
    """Resize, then crop the centre; the same for images, masks and references.

    Args:
        image_size: Side of the result, or (height, width), in pixels.
        resize: None squeezes the whole picture to `image_size`. A number scales the shorter side
            to it, keeping the aspect ratio, a pair (height, width) squeezes the picture to that;
            both then crop the centre to `image_size`.

    Raises:
        UserError: A size is no positive whole number, or the crop would be larger than the resized
            picture.
    """

    def __init__(
        self, image_size: int | Sequence[int] = 224, resize: int | Sequence[int] | None = None
    ) -> None:
        self.image_size = _pair(image_size, "image_size")
        smallest = self.image_size if resize is None else _pair(resize, "resize")
        self.resize = resize if resize is None or isinstance(resize, int) else smallest
        if any(small < final for small, final in zip(smallest, self.image_size, strict=True)):
            raise UserError(
                f"data.resize={resize} is smaller than data.image_size={self.image_size}: the"
                " centre crop needs a resize at least as large (data.resize=null for no crop)."
            )

    def decides(self) -> dict[str, Any]:
        """All that decides over an image's pixels, beside its file, as plain values."""
        return {"image_size": list(self.image_size), "resize": self.resize}

    def image(self, picture: Image.Image) -> Tensor:
        """A picture as (3, H, W) uint8, resized with bicubic interpolation."""
        size = self._resized((picture.height, picture.width))
        resized = picture.resize(size[::-1], Image.Resampling.BICUBIC)
        return self._crop(torch.from_numpy(np.array(resized)).permute(2, 0, 1)).contiguous()

    def mask(self, mask: NDArray[np.bool_]) -> Tensor:
        """A mask (h, w) as (H, W) bool, resized by nearest neighbour."""
        size = self._resized((mask.shape[0], mask.shape[1]))
        resized = Image.fromarray(mask.astype(np.uint8)).resize(
            size[::-1], Image.Resampling.NEAREST
        )
        return self._crop(torch.from_numpy(np.array(resized) != 0)).contiguous()

    def lay_back(self, score_map: Tensor, original: Size, fill: float = float("nan")) -> Tensor:
        """A score map in the picture's own pixels.

        Args:
            score_map: (H, W) of `image_size`.
            original: Height and width of the picture that was scored.
            fill: Value where the crop left the picture unseen.

        Returns:
            (height, width), bilinear between the map's pixel centres.
        """
        resized, (top, left) = self._resized(original), self._offset(self._resized(original))
        height, width = self.image_size
        # Pixel centres of the original, in the map's own pixels.
        rows = (torch.arange(original[0]) + 0.5) * resized[0] / original[0] - top
        columns = (torch.arange(original[1]) + 0.5) * resized[1] / original[1] - left
        grid = torch.stack(
            torch.meshgrid(2 * rows / height - 1, 2 * columns / width - 1, indexing="ij")[::-1], -1
        )
        laid = F.grid_sample(
            score_map[None, None].float(),
            grid[None].to(score_map.device),
            padding_mode="border",
            align_corners=False,
        )[0, 0]
        seen = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
        return laid.masked_fill(~seen.to(laid.device), fill)

    def _resized(self, original: Size) -> Size:
        if self.resize is None:
            return self.image_size
        if isinstance(self.resize, tuple):
            return self.resize
        short = min(original)
        height, width = (max(self.resize, round(side * self.resize / short)) for side in original)
        return height, width

    def _offset(self, resized: Size) -> Size:
        return (resized[0] - self.image_size[0]) // 2, (resized[1] - self.image_size[1]) // 2

    def _crop(self, pixels: Tensor) -> Tensor:
        top, left = self._offset((pixels.shape[-2], pixels.shape[-1]))
        return pixels[..., top : top + self.image_size[0], left : left + self.image_size[1]]


def _pair(size: int | Sequence[int], name: str) -> Size:
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise UserError(f"data.{name} is a number of pixels or [height, width], not {size!r}.")
    return sides[0], sides[1]
