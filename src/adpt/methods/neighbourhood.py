"""Patches of several levels as one vector each, with what surrounds them (PatchCore, GLASS)."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from adpt.nearest import slices

_CHUNK_NUMBERS = 2**26
_NEIGHBOURHOOD = 3


def embed_neighbourhoods(levels: Sequence[Tensor], width: int) -> Tensor:
    """Describe each patch by its 3 × 3 neighbourhood in every level, with `width` numbers.

    Each level's channels times neighbours are averaged to `width` numbers, brought to the first
    level's grid, stacked over the levels and averaged to `width` numbers again (PatchCore, arXiv
    2106.08265; GLASS does the same). Works in chunks of at most 256 MB a tensor, or one image.

    Returns:
        (B, patches of the first level, width).
    """
    largest = max(level[0].numel() for level in levels) * _NEIGHBOURHOOD**2
    largest = max(largest, width * len(levels) * levels[0][0, 0].numel())
    chunks = slices(levels[0].shape[0], _CHUNK_NUMBERS // largest)
    return torch.cat([_embed_chunk([level[some] for level in levels], width) for some in chunks])


def _embed_chunk(levels: Sequence[Tensor], width: int) -> Tensor:
    grid = levels[0].shape[-2:]
    patches = levels[0].shape[0], width, grid[0] * grid[1]
    described = levels[0].new_zeros(patches)
    averages = _averages(tuple(level.shape[1] * _NEIGHBOURHOOD**2 for level in levels), width)
    for level, (first, weights) in zip(levels, averages, strict=True):
        neighbours = F.unfold(level, _NEIGHBOURHOOD, padding=_NEIGHBOURHOOD // 2)
        pooled = weights.to(level) @ neighbours
        pooled = pooled.reshape(*pooled.shape[:2], *level.shape[-2:])
        # The authors resize before they average. Both are linear, over different axes, so the
        # order is free, and after averaging there is less to resize.
        if pooled.shape[-2:] != grid:
            pooled = F.interpolate(pooled, size=grid, mode="bilinear", align_corners=False)
        described[:, first : first + len(weights)] += pooled.flatten(2)
    return described.mT.contiguous()


@lru_cache(maxsize=8)
def _averages(depths: tuple[int, ...], width: int) -> list[tuple[int, Tensor]]:
    """Both averages as one matrix a level, (rows, depth), and the first number that it adds to.

    Of the stacked levels each number averages a few neighbours, so that a level reaches its own
    share of the numbers alone: in one step there is less to compute and to write.
    """
    found = []
    with torch.inference_mode(False):
        stacked = _averaging(width * len(depths), width).split(width, dim=1)
        for depth, block in zip(depths, stacked, strict=True):
            reached = block.any(1).nonzero()[:, 0].tolist()
            rows = slice(reached[0], reached[-1] + 1)
            found.append((rows.start, (block[rows] @ _averaging(depth, width)).float()))
    return found


def _averaging(depth: int, width: int) -> Tensor:
    """(width, depth), that averages `depth` numbers to `width`, as adaptive pooling does."""
    place, number = torch.arange(width)[:, None], torch.arange(depth)
    first, end = place * depth // width, -(-(place + 1) * depth // width)
    inside = ((first <= number) & (number < end)).double()
    return inside / inside.sum(1, keepdim=True)
