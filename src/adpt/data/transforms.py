"""From a decoded picture to a tensor of the configured size, and from a score map back."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from adpt.data.images import ReadingRules
from adpt.errors import UserError
from adpt.nearest import slices
from adpt.windows import Size, pair

MaskResize = Literal["nearest", "within", "touched"]

_STRIP = 2**16
"""Pixels of a score map that are laid back at a time, few enough for a processor's cache."""
_LARGEST_SCALED = 64_000_000
"""Pixels up to which a picture is scaled as a whole before its centre is cropped; of a larger one,
as of a strip whose shorter side is scaled up, the centre alone is scaled."""


class Geometry:
    """Resize, then crop the centre; the same for images, masks and references.

    Args:
        image_size: Side of the result, or (height, width), in pixels.
        resize: None squeezes the whole picture to `image_size`. A number scales the shorter side
            to it, keeping the aspect ratio, a pair (height, width) squeezes the picture to that;
            both then crop the centre to `image_size`.
        rules: How files are read.
        as_torchvision: Truncate the longer side and round the crop's offset, as torchvision's
            `Resize` and `CenterCrop` do; else both fall where the picture's middle is.
        mask_resize: By "nearest" neighbour, or with bilinear interpolation, after which a pixel is
            anomalous that lies "within" a defect altogether, or is "touched" by one at all.

    Raises:
        UserError: A size is no positive whole number, or the crop would be larger than the resized
            picture.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] = 224,
        resize: int | Sequence[int] | None = None,
        rules: ReadingRules | None = None,
        *,
        as_torchvision: bool = False,
        mask_resize: MaskResize = "nearest",
    ) -> None:
        self.rules = rules or ReadingRules()
        self.as_torchvision, self.mask_resize = as_torchvision, mask_resize
        self.image_size = pair(image_size, "data.image_size")
        smallest = self.image_size if resize is None else pair(resize, "data.resize")
        self.resize = resize if resize is None or isinstance(resize, int) else smallest
        if any(small < final for small, final in zip(smallest, self.image_size, strict=True)):
            raise UserError(
                f"data.resize={resize} is smaller than data.image_size={self.image_size}: the"
                " centre crop needs a resize at least as large (data.resize=null for no crop)."
            )

    def image(self, picture: Image.Image) -> Tensor:
        """A picture as (3, H, W) uint8, resized with bicubic interpolation."""
        pixels = self._scaled(picture, Image.Resampling.BICUBIC)
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def mask(self, mask: NDArray[np.bool_]) -> Tensor:
        """A mask (h, w) as (H, W) bool, resized as `mask_resize` says."""
        nearest = self.mask_resize == "nearest"
        how = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
        if self.mask_resize == "touched":
            return torch.from_numpy(self._scaled(Image.fromarray(mask.astype(np.float32)), how) > 0)
        pixels = self._scaled(Image.fromarray(mask.astype(np.uint8) * 255), how)
        return torch.from_numpy(pixels == 255)

    def decides(self) -> dict[str, Any]:
        """All that decides over the pixels that come of an image file, as plain values."""
        return {
            "image_size": list(self.image_size),
            "resize": list(self.resize) if isinstance(self.resize, tuple) else self.resize,
            "bit_depth": dict(self.rules.bit_depths),
            **({"as_torchvision": True} if self.as_torchvision else {}),
        }

    def lay_back(
        self,
        score_map: Tensor,
        original: Size,
        fill: float = float("nan"),
        size: Size | None = None,
        rows: slice = slice(None),
    ) -> Tensor:
        """A score map in the picture's own pixels, or in those of a copy of another size.

        Args:
            score_map: (H, W) of `image_size`.
            original: Height and width of the picture that was scored.
            fill: Value where the crop left the picture unseen.
            size: Height and width of the whole result; None for the picture's own.
            rows: Those of it that are wanted.

        Returns:
            (rows, width), bilinear between the map's pixel centres.
        """
        size = size or original
        height, width = self.image_size
        down, across = (centres.numpy() for centres in self._centres(original, size))
        down, scores = down[rows], score_map.float().cpu().numpy()
        laid = np.empty((len(down), size[1]), dtype=np.float32)
        above, shares = _nearest_two(down, height)
        # Along the few rows of the map first, for a row is quickly copied as a whole. In NumPy, for
        # threads of torch would wait for each other after each of many short steps.
        first, last = above[0], above[-1] + 2
        left, further = _nearest_two(across, width)
        band = _steps(scores[first:last], 1).take(left, 1)
        band *= further
        band += scores[first:last].take(left, 1)
        steps, above = _steps(band, 0), above - first
        for strip in slices(len(down), _STRIP // size[1]):
            steps.take(above[strip], 0, laid[strip], "clip")
            laid[strip] *= shares[strip, None]
            laid[strip] += band.take(above[strip], 0)
        laid[(down < 0) | (down >= height)] = fill
        laid[:, (across < 0) | (across >= width)] = fill
        return torch.from_numpy(laid).to(score_map.device)

    def seen(self, original: Size) -> tuple[Tensor, Tensor]:
        """Rows and columns of a picture that the crop left in it, as bool; see `lay_back`."""
        sides = zip(self._centres(original, original), self.image_size, strict=True)
        rows, columns = ((centres >= 0) & (centres < side) for centres, side in sides)
        return rows, columns

    def _centres(self, original: Size, size: Size) -> tuple[Tensor, Tensor]:
        """Pixel centres of a copy of a picture, in a score map's own pixels."""
        resized, (top, left) = self._resized(original), self._offset(self._resized(original))
        rows = (torch.arange(size[0]) + 0.5) * resized[0] / size[0] - top
        columns = (torch.arange(size[1]) + 0.5) * resized[1] / size[1] - left
        return rows, columns

    def place(self, original: Size) -> tuple[tuple[float, float], tuple[float, float]]:
        """Where a score map lies on a picture of this height and width.

        Returns:
            In the picture's pixels: width and height of a pixel of the map, and its top left corner
            (x, y).
        """
        resized = self._resized(original)
        down, across = (side / scaled for side, scaled in zip(original, resized, strict=True))
        top, left = self._offset(resized)
        return (across, down), (left * across, top * down)

    def _resized(self, original: Size) -> Size:
        if self.resize is None:
            return self.image_size
        if isinstance(self.resize, tuple):
            return self.resize
        short, whole = min(original), int if self.as_torchvision else round
        height, width = (max(self.resize, whole(side * self.resize / short)) for side in original)
        return height, width

    def _offset(self, resized: Size) -> Size:
        spare = resized[0] - self.image_size[0], resized[1] - self.image_size[1]
        if self.as_torchvision:
            return round(spare[0] / 2), round(spare[1] / 2)
        return spare[0] // 2, spare[1] // 2

    def _scaled(self, picture: Image.Image, how: Image.Resampling) -> NDArray[Any]:
        """A picture, resized and cropped."""
        height, width = self._resized((picture.height, picture.width))
        top, left = self._offset((height, width))
        rows, columns = self.image_size
        if height * width <= _LARGEST_SCALED:
            pixels = np.array(picture.resize((width, height), how))
            return np.ascontiguousarray(pixels[top : top + rows, left : left + columns])
        sides = zip(
            (picture.width, picture.height),
            (width, height),
            (left, top),
            (columns, rows),
            strict=True,
        )
        across, down = (_part(*side) for side in sides)
        part = picture.crop((across[0], down[0], across[1], down[1]))
        centre = (across[2], down[2], across[3], down[3])
        return np.array(part.resize((columns, rows), how, centre))


def _nearest_two(
    centres: NDArray[np.float32], length: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Where pixel centres lie in a row of values: behind which one, and how far towards the next.

    Those beyond the outermost values lie on these.
    """
    places = np.clip(centres - np.float32(0.5), 0, length - 1)
    before = places.astype(np.intp)
    return before, places - before.astype(np.float32)


def _steps(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """From each value along an axis to the next; 0 from the last."""
    return np.diff(values, axis=axis, append=values.take([-1], axis))


def _part(side: int, scaled: int, offset: int, length: int) -> tuple[int, int, float, float]:
    """The part of a picture's side that a crop is made of.

    `offset` and `length` of the crop are in pixels of the side as it would be scaled.

    Returns:
        Begin and end of the part that is needed, and, in its pixels, begin and end of the crop.
    """
    step = side / scaled
    begin, end = offset * step, (offset + length) * step
    margin = 2 * max(1.0, step) + 1  # What bicubic interpolation looks at beside a pixel.
    first, last = max(0, int(begin - margin)), min(side, math.ceil(end + margin))
    return first, last, begin - first, end - first
