"""Patches of several levels as one vector each, with what surrounds them (PatchCore, GLASS)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from adpt.nearest import slices

_CHUNK_NUMBERS = 2**26
_NEIGHBOURHOOD = 3
_ROWS = 32
"""Numbers of a patch that are averaged by one product on a CPU: as each averages a few neighbours
that lie side by side, so do these, and the product passes over nearly all zeros."""


class _Part(NamedTuple):
    """Some of the numbers that a level adds to, and what they average.

    Attributes:
        neighbours: The level's channels times neighbours that have a share in them.
        weights: These shares, (neighbours, numbers).
    """

    neighbours: slice
    weights: Tensor


def embed_neighbourhoods(levels: Sequence[Tensor], width: int) -> Tensor:
    """Describe each patch by its 3 × 3 neighbourhood in every level, with `width` numbers.

    Each level's channels times neighbours are averaged to `width` numbers, brought to the first
    level's grid, stacked over the levels and averaged to `width` numbers again (PatchCore, arXiv
    2106.08265; GLASS does the same). An image at a time on a CPU, so that no bit depends on the
    batch; elsewhere as many as take 256 MB a tensor, or one.

    Returns:
        (B, patches of the first level, width).
    """
    images, grid = levels[0].shape[0], levels[0].shape[-2:]
    on_cpu = levels[0].device.type == "cpu"
    largest = max(level.shape[1:].numel() for level in levels) * _NEIGHBOURHOOD**2
    largest = max(largest, width * len(levels) * grid.numel())
    depths = tuple(level.shape[1] * _NEIGHBOURHOOD**2 for level in levels)
    averages = _averages(depths, width, _ROWS if on_cpu else width)
    described = levels[0].new_empty(images, grid.numel(), width)
    for some in slices(images, 1 if on_cpu else _CHUNK_NUMBERS // largest):
        described[some] = _joined(
            [
                (first, _pooled(level[some], parts, grid))
                for level, (first, parts) in zip(levels, averages, strict=True)
            ]
        )
    return described


def _joined(pooled: Sequence[tuple[int, Tensor]]) -> Tensor:
    """What the levels add, side by side; where two reach the same numbers, their sum.

    Args:
        pooled: The first number that a level adds to, and what it adds, (B, patches, numbers); in
            their order, and each begins where the one before ends, or sooner.
    """
    found: list[Tensor] = []
    for first, numbers in pooled:
        shared = sum(part.shape[2] for part in found) - first
        if shared:
            found[-1], last = found[-1].tensor_split([found[-1].shape[2] - shared], 2)
            found.append(last + numbers[..., :shared])
        if numbers.shape[2] > shared:
            found.append(numbers[..., shared:])
    return torch.cat(found, 2)


def _pooled(level: Tensor, parts: Sequence[_Part], grid: torch.Size) -> Tensor:
    """(B, patches of the grid, numbers): what a level adds."""
    neighbours = F.unfold(level, _NEIGHBOURHOOD, padding=_NEIGHBOURHOOD // 2).mT
    averaged = [neighbours[..., part.neighbours] @ part.weights.to(level) for part in parts]
    pooled = torch.cat(averaged, 2)
    if level.shape[-2:] == grid:
        return pooled
    # The authors resize before they average. Both are linear, over different axes, so the order is
    # free, and after averaging there is less to resize. Torch resizes channels last in a tenth of
    # the time.
    maps = pooled.unflatten(1, level.shape[-2:]).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, size=grid, mode="bilinear", align_corners=False)
    return maps.permute(0, 2, 3, 1).flatten(1, 2)


@lru_cache(maxsize=8)
def _averages(depths: tuple[int, ...], width: int, rows: int) -> list[tuple[int, list[_Part]]]:
    """Both averages as one matrix a level, in parts, and the first number that it adds to.

    Of the stacked levels each number averages a few neighbours, so that a level reaches its own
    share of the numbers alone: in one step there is less to compute and to write.
    """
    found = []
    with torch.inference_mode(False):
        stacked = _averaging(width * len(depths), width).split(width, dim=1)
        for depth, block in zip(depths, stacked, strict=True):
            reached = _span(block.any(1))
            weights = (block[reached] @ _averaging(depth, width)).float()
            parts = []
            for some in weights.split(rows):
                seen = _span(some.any(0))
                parts.append(_Part(seen, some[:, seen].T.contiguous()))
            found.append((reached.start, parts))
    return found


def _span(inside: Tensor) -> slice:
    """From the first that is True to the last."""
    places = inside.nonzero()[:, 0].tolist()
    return slice(places[0], places[-1] + 1)


def _averaging(depth: int, width: int) -> Tensor:
    """(width, depth), that averages `depth` numbers to `width`, as adaptive pooling does."""
    place, number = torch.arange(width)[:, None], torch.arange(depth)
    first, end = place * depth // width, -(-(place + 1) * depth // width)
    inside = ((first <= number) & (number < end)).double()
    return inside / inside.sum(1, keepdim=True)
