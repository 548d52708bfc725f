"""Greedy k-center selection: few points that leave no point far away."""

import numpy as np
import torch
from torch import Tensor

_CANDIDATES = 512
_CHUNK_NUMBERS = 2**20


def greedy_coreset(
    points: Tensor, count: int, generator: torch.Generator, num_starts: int = 1
) -> Tensor:
    """Pick points one after the other, each the farthest from those picked before.

    The first is drawn by the generator, or with several starts it is the farthest from these, by
    the mean distance, which also bounds all distances from above. Distances only shrink as picks
    are made, so as long as the next pick lies among the points that were the farthest, no other has
    to be looked at: a pass over all points is due when these are used up, not at every pick. In the
    worst case, such as copies of few points, each pick costs a pass; memory is one copy of them.
    Another order of the points changes the result only through the first pick and ties.

    (PatchCore, arXiv 2106.08265, algorithm 1. Its authors `project` the points to 128 dimensions
    first, to save time; the points picked then lie less evenly.)

    Args:
        points: (N, D), float32.
        count: How many to pick, 1 to N.
        generator: A CPU generator: the same one picks the same on every device, up to rounding.
        num_starts: How many points are drawn to start from; PatchCore's authors take 10.

    Returns:
        (count,) different indices, in the order they were picked.

    Raises:
        ValueError: If count is not between 1 and N.
    """
    total = len(points)
    if not 1 <= count <= total:
        raise ValueError(f"count is {count}: pick between 1 and all {total} points.")
    # Distances do not change when all points move; small coordinates keep more of their digits.
    points = points - points.mean(0)
    lengths = points.square().sum(1)
    nearest = torch.full_like(lengths, torch.inf)
    if num_starts > 1:
        starts = torch.randperm(total, generator=generator)[:num_starts].to(points.device)
        nearest = _mean_distances(points, points[starts]).square()
        picks = nearest.argmax()[None]
    else:
        picks = torch.randint(total, (1,), generator=generator).to(points.device)
    picked = [picks]
    left = count - 1
    while left > 0:
        _shorten(nearest, points, lengths, picks)
        picks = _farthest(nearest, points, lengths, left)
        picked.append(picks)
        left -= len(picks)
    return torch.cat(picked)


def project(points: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """Map points to random dimensions, which keeps distances roughly (Johnson–Lindenstrauss).

    Args:
        points: (N, D), float32.
        width: Dimensions to map to; points that have no more stay as they are.
        generator: A CPU generator.

    Returns:
        (N, width), or the points.
    """
    if points.shape[1] <= width:
        return points
    mapping = torch.randn(points.shape[1], width, generator=generator) / width**0.5
    mapped: Tensor = points @ mapping.to(points)
    return mapped


def _mean_distances(points: Tensor, starts: Tensor) -> Tensor:
    """(N,), each point's mean distance from some others."""
    parts = points.split(max(1, _CHUNK_NUMBERS // len(starts)))
    return torch.cat([torch.cdist(part, starts).mean(1) for part in parts])


def _shorten(nearest: Tensor, points: Tensor, lengths: Tensor, picks: Tensor) -> None:
    """Bring each point's squared distance to its nearest pick up to date."""
    step = max(1, _CHUNK_NUMBERS // len(picks))
    for start in range(0, len(points), step):
        chunk = slice(start, start + step)
        # |x|² − 2 x·c + |c|², the first of which is the same for all picks
        to_picks = torch.addmm(lengths[picks], points[chunk], points[picks].T, alpha=-2)
        torch.minimum(nearest[chunk], to_picks.amin(1) + lengths[chunk], out=nearest[chunk])
    nearest[picks] = -torch.inf


def _farthest(nearest: Tensor, points: Tensor, lengths: Tensor, limit: int) -> Tensor:
    """The next picks, at least one and at most `limit`, that a look at few points is enough for."""
    found = nearest.topk(min(_CANDIDATES, len(nearest)))
    candidates = points[found.indices]
    squares = lengths[found.indices]
    between = (squares[:, None] - 2 * candidates @ candidates.T + squares).cpu().numpy()
    near = found.values.cpu().numpy()
    # None of the other points lies farther from the earlier picks.
    others = near[-1]
    chosen: list[int] = []
    while len(chosen) < limit:
        pick = int(near.argmax())
        if chosen and near[pick] < others:
            break
        chosen.append(pick)
        near = np.minimum(near, between[pick])
        near[pick] = -np.inf
    return found.indices[chosen]
