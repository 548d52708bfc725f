"""Levels of different sizes on one grid of patches."""

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from adpt.methods.learned import Shape

_PATCHES = 16 * 16


def common_grid(shapes: Sequence[Shape]) -> tuple[int, int]:
    """Height and width of the level nearest to 16 × 16 patches, in the ratio of their areas."""
    grids = [(height, width) for _, height, width in shapes]
    return min(grids, key=lambda grid: abs(math.log(grid[0] * grid[1] / _PATCHES)))


def tokens(level: Tensor, grid: tuple[int, int]) -> Tensor:
    """A level (B, C, h, w) as patches (B, P, C) float32, row by row on a grid (height, width).

    Levels of another grid are resized bilinearly, corners on corners.
    """
    resized = level.float()
    if resized.shape[-2:] != grid:
        resized = F.interpolate(resized, grid, mode="bilinear", align_corners=True)
    return resized.flatten(2).transpose(1, 2)
