"""Patches of several levels as one vector each, with what surrounds them (PatchCore, GLASS)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from adpt.nearest import slices

_CHUNK_NUMBERS = 2**26
_NEIGHBOURHOOD = 3


def embed_neighbourhoods(levels: Sequence[Tensor], width: int) -> Tensor:
    """Describe each patch by its 3 × 3 neighbourhood in every level.

    Each level's channels times neighbours are averaged to `width` numbers, brought to the first
    level's grid, stacked over the levels and averaged to `width` numbers again (PatchCore, arXiv
    2106.08265; GLASS does the same). Works in chunks of at most 256 MB a tensor, or one image.

    Args:
        levels: One (B, C, h, w) float32 tensor a level.
        width: Numbers that describe a patch.

    Returns:
        (B, patches of the first level, width).
    """
    largest = max(level[0].numel() for level in levels) * _NEIGHBOURHOOD**2
    largest = max(largest, width * len(levels) * levels[0][0, 0].numel())
    chunks = slices(levels[0].shape[0], _CHUNK_NUMBERS // largest)
    return torch.cat([_embed_chunk([level[some] for level in levels], width) for some in chunks])


def _embed_chunk(levels: Sequence[Tensor], width: int) -> Tensor:
    grid = levels[0].shape[-2:]
    described = []
    for level in levels:
        neighbours = F.unfold(level, _NEIGHBOURHOOD, padding=_NEIGHBOURHOOD // 2)
        pooled = _average(neighbours, width)
        pooled = pooled.reshape(*pooled.shape[:2], *level.shape[-2:])
        # The authors resize before they average. Both are linear, over different axes, so the
        # order is free, and after averaging there is less to resize.
        if pooled.shape[-2:] != grid:
            pooled = F.interpolate(pooled, size=grid, mode="bilinear", align_corners=False)
        described.append(pooled.flatten(2))
    return _average(torch.cat(described, 1), width).mT.contiguous()


def _average(vectors: Tensor, width: int) -> Tensor:
    """Average (B, D, P) to (B, width, P), each output over its share of the D numbers."""
    return F.adaptive_avg_pool2d(vectors, (width, vectors.shape[-1]))
