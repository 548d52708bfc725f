"""Greedy k-center selection: few points that leave no point far away."""

import numpy as np
import torch
from torch import Tensor

from adpt.methods.nearest_patches import ROUNDING, directions_of, pair_squares, shadows
from adpt.methods.stacked import FileRows, Rows

_CANDIDATES = 512
_WATCHED = 2**12
_ROWS = _PICKS = 2**10
_FEW = 1 / 40


def greedy_coreset(
    points: Rows, count: int, generator: torch.Generator, num_starts: int = 1
) -> Tensor:
    """Pick points one after the other, each the farthest from those picked before.

    The first is drawn by the generator, or with several starts it is the farthest from these, by
    the mean distance, which also bounds all distances from above. Distances only shrink as picks
    are made. So one that is out of date is still a bound, and only those few points that may be the
    farthest are held against the latest picks; most are near some early pick, and are never looked
    at again. In the worst case, such as copies of few points, all are. Of wide points, distances in
    few dimensions tell most pairs apart (`nearest_patches.shadows`). Memory: three numbers a point,
    and 129 of a wide one, which lie in a file where the points do. Another order of the points
    changes the result only through the first pick and ties; fewer picks are the first of more.

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
    cover = _Cover(points)
    if num_starts > 1:
        starts = points[torch.randperm(total, generator=generator)[:num_starts].to(points.device)]
        means = [torch.cdist(part, starts).mean(1) for part in points.split(_ROWS)]
        cover.nearest = torch.cat(means).square()
        first = cover.nearest.argmax()[None]
    else:
        first = torch.randint(total, (1,), generator=generator).to(points.device)
    cover.add(first)
    while (left := count - len(cover.picks)) > 0:
        cover.add(cover.farthest(left))
    return cover.picks


class _Cover:
    """Picks among points, and how far each point lies from the nearest of them.

    Attributes:
        picks: (n,) indices, in the order they were picked.
        nearest: (N,) squared distances to the nearest of the first `seen` picks, which bound those
            to all of them; of picks, -inf.
        seen: (N,) how many picks each point was held against.
    """

    def __init__(self, points: Rows) -> None:
        self.points = points
        # Distances do not change when all points move; small coordinates keep more of their digits.
        self.origin = points.mean(0)
        parts = range(0, len(points), _ROWS)
        self.lengths = torch.cat(
            [(points[start : start + _ROWS] - self.origin).square().sum(1) for start in parts]
        )
        self.directions = directions_of(points)
        if self.directions is not None:
            self.shadows = _shadows(points, self.origin, self.directions)
            self.rounding = 2 * ROUNDING * float(self.lengths.max())
        self.nearest = torch.full_like(self.lengths, torch.inf)
        self.picks = self.seen = torch.zeros(0, dtype=torch.int64, device=points.device)
        self.seen = self.seen.new_zeros(len(points))

    def add(self, picks: Tensor) -> None:
        """Pick points."""
        self.picks = torch.cat([self.picks, picks])
        self.nearest[picks] = -torch.inf

    def farthest(self, limit: int) -> Tensor:
        """The next picks, at most `limit`, that a look at few points is enough for; maybe none."""
        watched = self.nearest.topk(min(_WATCHED, len(self.nearest)))
        self._shorten(watched.indices)
        found = self.nearest[watched.indices].topk(min(_CANDIDATES, len(watched.indices)))
        indices = watched.indices[found.indices]
        candidates, squares = self.points[indices] - self.origin, self.lengths[indices]
        between = (squares[:, None] - 2 * candidates @ candidates.T + squares).cpu().numpy()
        near = found.values.cpu().numpy()
        # None of the other points lies farther from the earlier picks.
        others = near[-1]
        if len(watched.indices) < len(self.nearest):
            others = max(others, float(watched.values[-1]))
        chosen: list[int] = []
        while len(chosen) < limit:
            pick = int(near.argmax())
            if near[pick] < others:
                break
            chosen.append(pick)
            near = np.minimum(near, between[pick])
            near[pick] = -np.inf
        return indices[chosen]

    def _shorten(self, rows: Tensor) -> None:
        """Bring points' distances up to date."""
        rows = rows[self.seen[rows] < len(self.picks)]
        for some in rows[self.seen[rows].argsort()].split(_ROWS) if len(rows) else ():
            near = self.nearest[some]
            for picks in self.picks[int(self.seen[some[0]]) :].split(_PICKS):
                near = near.minimum(self._nearest_of(some, picks, near))
            self.nearest[some] = near
        self.seen[rows] = len(self.picks)

    def _nearest_of(self, rows: Tensor, picks: Tensor, near: Tensor) -> Tensor:
        """Squared distances to the nearest of some picks, where that is below `near`."""
        if self.directions is not None:
            own, to = self.shadows[rows], self.shadows[picks]
            lengths = own.square().sum(1)
            bounds = torch.addmm(to.square().sum(1), own, to.T, alpha=-2)
            nearer = bounds < (near - lengths + self.rounding)[:, None]
            which, those = nearer.nonzero(as_tuple=True)
            if len(which) < _FEW * bounds.numel():
                exact = self._pair_squares(rows, which, picks, those)
                return near.scatter_reduce(0, which, exact, "amin")
        chunk = self.points[rows] - self.origin
        to = (self.points[picks] - self.origin).T
        # |x|² − 2 x·c + |c|², the first of which is the same for all picks
        products = torch.addmm(self.lengths[picks], chunk, to, alpha=-2)
        return products.amin(1) + self.lengths[rows]

    def _pair_squares(self, rows: Tensor, which: Tensor, picks: Tensor, those: Tensor) -> Tensor:
        """Squared distances of pairs of places in `rows` and in `picks`."""
        if isinstance(self.points, FileRows):  # Each is read once, however many pairs it is in.
            return pair_squares(self.points[rows], which, self.points[picks], those)
        return pair_squares(self.points, rows[which], self.points, picks[those])


def _shadows(points: Rows, origin: Tensor, directions: Tensor) -> Rows:
    """The points' shadows, in a file where the points lie in one."""
    if not isinstance(points, FileRows):
        return shadows(points, origin, directions)
    found = FileRows(directions.shape[1] + 1)
    for part in points.split(_ROWS):
        found.append(shadows(part, origin, directions))
    return found


def project(points: Rows, width: int, generator: torch.Generator) -> Rows:
    """Map points (N, D) to random dimensions, which roughly keeps distances.

    By Johnson and Lindenstrauss; points of no more dimensions than `width` stay as they are.
    """
    if points.shape[1] <= width:
        return points
    mapping = torch.randn(points.shape[1], width, generator=generator) / width**0.5
    if isinstance(points, FileRows):
        return torch.cat([part @ mapping for part in points.split(_ROWS)])
    mapped: Tensor = points @ mapping.to(points)
    return mapped
