"""A backbone that sees a large picture through overlapping windows of a smaller one's size."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adpt.backbones.base import Backbone, Levels
from adpt.errors import UserError
from adpt.nearest import slices
from adpt.windows import OVERLAP, Size, Windows, check_windows, pair

_PIXELS = 8 * 224 * 224
"""In windows that are encoded at a time, or one window; more take more memory."""


class WindowedBackbone(Backbone):
    """Levels of a large picture, each patch from the window whose middle is nearest to it.

    Patches on either side of a seam have seen different windows, but each at least half of their
    overlap around it. A method, references and a projector see a backbone with larger levels. The
    features of a picture do not depend on the batch that it comes in.

    Memory: beside the levels of a picture's windows what the network takes for some eight images of
    224 × 224 pixels at a time; in an exported graph for all windows of the batch.

    Args:
        backbone: Sees windows.
        image_size: Side of the pictures in pixels, or (height, width).
        windows: That of the windows.
        overlap: Share of a window's side that it has in common with the next one, at least about.

    Raises:
        UserError: Such windows do not lie on such pictures as patches do.
    """

    def __init__(
        self,
        backbone: Backbone,
        image_size: int | Sequence[int],
        windows: int | Sequence[int],
        overlap: float = OVERLAP,
    ) -> None:
        mean, std = backbone.mean.tolist(), backbone.std.tolist()
        super().__init__(backbone.name, backbone.channels, mean, std)
        self.backbone = backbone
        self.indices = backbone.indices
        self.image_size = pair(image_size, "backbone.image_size")
        self.window, self.overlap = pair(windows, "backbone.windows"), overlap
        patch = _patch(backbone, self.window)
        check_windows(self.image_size, self.window, overlap, patch)
        self.windows = Windows.of(self.image_size, self.window, overlap, patch)
        self.freeze()

    def levels(self, images: Tensor) -> Levels:
        """The windows' levels laid together, see `Backbone.levels`.

        Raises:
            UserError: The images have another size than the windows were laid for.
        """
        if images.shape[-2:] != self.image_size:
            raise UserError(
                f"{self.name} was built for windows of images of {list(self.image_size)} px and got"
                f" {list(images.shape[-2:])}: set backbone.image_size and data.image_size to one"
                " value."
            )
        # Image by image: windows are always encoded with the same others.
        found = [self._of_images(images[some]) for some in slices(images.shape[0], 1)]
        return [torch.cat(level) for level in zip(*found, strict=True)]

    def require_class_token(self, method: str) -> None:
        """Refuse it; see `Backbone.require_class_token`."""
        raise UserError(
            f"{method} uses the class token, which tells of a whole image, and windows.size has the"
            " backbone see windows alone: leave it out."
        )

    def _of_images(self, images: Tensor) -> Levels:
        windows = self.windows.cut(images)
        at_a_time = _PIXELS // (self.window[0] * self.window[1])
        parts = [
            self.backbone.levels(torch.cat(windows[some]))
            for some in slices(len(windows), at_a_time)
        ]
        levels = [torch.cat(level) for level in zip(*parts, strict=True)]
        of_windows = [level.unflatten(0, (len(windows), -1)) for level in levels]
        return [self.windows.lay(list(level)) for level in of_windows]

    @property
    def fingerprint(self) -> str:
        """That of the backbone that sees windows; see `Backbone.fingerprint`.

        Like the size of pictures, windows are no part of what a projector is made for.
        """
        return self.backbone.fingerprint

    @property
    def weights_sha256(self) -> str:
        """Likewise."""
        return self.backbone.weights_sha256

    @property
    def weights(self) -> dict[str, Tensor]:
        """Likewise."""
        return self.backbone.weights

    def decides(self) -> dict[str, Any]:
        """Of that backbone, and the windows; see `Backbone.decides`."""
        windows = {"of": self.image_size, "size": self.window, "overlap": self.overlap}
        return self.backbone.decides() | {"windows": windows, "precision": self.precision}

    def unfreeze(self) -> None:
        """Let the weights learn; see `Backbone.unfreeze`."""
        super().unfreeze()
        self.backbone.unfreeze()


def _patch(backbone: Backbone, window: Size) -> int:
    """Pixels after which the patches of all levels of a window begin anew."""
    with torch.no_grad():
        levels = backbone(torch.zeros(1, 3, *window, device=backbone.mean.device))
    sides = [(window[axis], level.shape[2 + axis]) for level in levels for axis in (0, 1)]
    return math.lcm(*(math.ceil(pixels / patches) for pixels, patches in sides))
