"""The nearest of many patches: exactly, from distances in few dimensions that bound all others."""

import torch
from torch import Tensor

from adpt.methods.stacked import Rows
from adpt.nearest import largest_products, slices

_DIRECTIONS, _SAMPLE = 128, 2**11
_FEW_POINTS, _FEW_DIMENSIONS = 2**11, 4 * _DIRECTIONS
_ROWS, _TILE, _PAIRS = 2**10, 2**22, 2**10
_COLUMNS = 2**8
_TOO_MANY = 1 / 40
ROUNDING = 1e-5
"""Of two squared lengths: by how much their distance in few dimensions may be off."""


class NearestPatches:
    """Finds for patches the nearest of some points, and its squared distance.

    Patches lie near few directions. In these, with all others as one more, no two are farther
    apart than they are (`shadows`): a product as narrow as that leaves a handful of points for each
    patch, whose distances are then taken from the differences. Where that saves nothing, for few
    points or dimensions, on a GPU and in a compiled graph, a product of all dimensions finds the
    nearest, to about 1e-7 of the points' largest squared distance from their mean, and only its
    distance is taken from the difference. A point itself is at distance 0 either way.

    Memory: beside the points a number a direction and two more for each, and tiles of 16 MB (of 64
    patches at least); a second copy of the points where all dimensions are taken.

    Args:
        points: (M, D), float32, M at least 1.
        like: (m, D), patches like those that will be looked for; None for the points.
        directions: How many of them are seen; with more, fewer points are left for each patch.
    """

    def __init__(
        self, points: Tensor, like: Rows | None = None, directions: int = _DIRECTIONS
    ) -> None:
        self.points = points
        self.origin = points.mean(0)
        self.directions = None
        if len(points) >= _FEW_POINTS:
            self.directions = directions_of(points if like is None else like, directions)
        if self.directions is None:
            self.seen = points - self.origin
        else:
            self.seen = shadows(points, self.origin, self.directions)
        self.halves = self.seen.square().sum(1) / -2
        if self.directions is not None:
            # A product with few points at a time stays in the processor's cache: twice as fast.
            self.seen = _in_columns(self.seen, 0.0)

    def squares(self, patches: Tensor) -> Tensor:
        """Squared distances of patches (N, D) to the nearest points, (N,).

        While a graph is exported the search in few dimensions is one node of it,
        `adpt::nearest_squares`; an ONNX graph makes it in parts of its own
        (`inspection/onnx_search.py`).
        """
        if self.directions is None or not is_exporting():
            return self.find(patches)[0]
        halves = _in_columns(self.halves, -torch.inf)
        seen = torch.cat([self.seen.flatten(0, 1), halves.reshape(-1, 1)], 1)
        found: Tensor = squares_as_one_node(
            patches, self.points, self.origin, self.directions, seen
        )
        return found

    def find(self, patches: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The nearest points.

        Args:
            patches: (N, D), float32.
            hidden: (M,) bool, points that are not to be found; None for none. Not all of them.

        Returns:
            (N,) squared distances and (N,) rows of `points`.
        """
        halves = self.halves if hidden is None else self.halves.masked_fill(hidden, -torch.inf)
        if self.directions is None:
            return self._among_all(patches, self.seen, halves)
        step = max(64, _TILE // len(self.points))
        found = []
        for start in range(0, max(1, len(patches)), step):
            few = self._among_few(patches[start : start + step], self.directions, halves)
            if few is None:  # Nor are the others likely to have few.
                centred = self.points - self.origin
                whole = (centred.square().sum(1) / -2).masked_fill(halves.isinf(), -torch.inf)
                found.append(self._among_all(patches[start:], centred, whole))
                break
            found.append(few)
        squares, rows = zip(*found, strict=True)
        return torch.cat(squares), torch.cat(rows)

    def _among_few(
        self, patches: Tensor, directions: Tensor, halves: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """As of `find`; None where too many points may be the nearest."""
        own = shadows(patches, self.origin, directions)
        # The nearest has the largest x·c − |c|²/2.
        columns = _in_columns(halves, -torch.inf)[:, None]
        products = torch.baddbmm(columns, own.expand(len(columns), -1, -1), self.seen.mT)
        largest, every = products.amax(2), torch.arange(len(patches))
        tiles = largest.argmax(0)
        rows = tiles * _COLUMNS + products[tiles, every].argmax(1)
        rows = rows.clamp_max(len(self.points) - 1)  # A length beyond float32 makes products NaN.
        squares = _squares(patches, self.points[rows])
        lengths = own.square().sum(1)
        rounding = ROUNDING * (lengths - 2 * self.halves.min())
        least = (lengths - squares - rounding) / 2
        tiles, which = (largest >= least).nonzero(as_tuple=True)
        pairs, places = (products[tiles, which] >= least[which, None]).nonzero(as_tuple=True)
        which, others = which[pairs], tiles[pairs] * _COLUMNS + places
        further = others != rows[which]
        which, others = which[further], others[further]
        if len(which) > _TOO_MANY * len(patches) * len(self.points):
            return None
        exact = pair_squares(patches, which, self.points, others)
        best = squares.scatter_reduce(0, which, exact, "amin")
        # The first of equally near ones.
        last = len(self.points)
        firsts = torch.where(exact == best[which], others, last)
        rows = torch.where(squares == best, rows, last).scatter_reduce(0, which, firsts, "amin")
        return best, rows

    def _among_all(self, patches: Tensor, centred: Tensor, halves: Tensor) -> tuple[Tensor, Tensor]:
        squares = patches.new_empty(patches.shape[0])
        rows = torch.empty_like(squares, dtype=torch.int64)
        for some in slices(patches.shape[0], _ROWS):
            rows[some] = largest_products(patches[some] - self.origin, centred, halves)
            squares[some] = _squares(patches[some], self.points[rows[some]])
        return squares, rows


def is_exporting() -> bool:
    """True while a graph is exported, not compiled: `torch.compiler.is_exporting` from 2.7 on."""
    return torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()


@torch.library.custom_op("adpt::nearest_squares", mutates_args=())
def squares_as_one_node(
    patches: Tensor, points: Tensor, origin: Tensor, directions: Tensor, seen: Tensor
) -> Tensor:
    """`NearestPatches.squares`, into which no tracing looks.

    Args:
        patches: (N, D).
        points: (M, D).
        origin: (D,).
        directions: (D, d).
        seen: (a multiple of 64 and at least M, d + 2): the points' shadows, and minus half their
            squared lengths, -inf in rows beyond M.
    """
    return NearestPatches(points, directions=directions.shape[1]).find(patches)[0]


@squares_as_one_node.register_fake
def _(patches: Tensor, points: Tensor, origin: Tensor, directions: Tensor, seen: Tensor) -> Tensor:
    return patches.new_empty(patches.shape[0])


def directions_of(points: Rows, count: int = _DIRECTIONS) -> Tensor | None:
    """Orthonormal directions in which points differ most, (D, count), from a sample of them.

    Any would do for exactness. None where fewer dimensions save nothing.
    """
    narrow = points.shape[1] < _FEW_DIMENSIONS
    if narrow or points.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    places = torch.linspace(0, len(points) - 1, min(_SAMPLE, len(points))).long()
    sample = points[places] - points[places].mean(0)
    sample = sample / sample.abs().max().clamp_min(1e-30)
    start = torch.linspace(0, len(sample) - 1, count).long()
    directions = sample[start].T
    for _ in range(2):
        directions = torch.linalg.qr(sample.T @ (sample @ directions)).Q
    return directions


def shadows(points: Tensor, origin: Tensor, directions: Tensor) -> Tensor:
    """Points in few dimensions, (N, d + 1), where no two are farther apart than they are.

    Their coordinates along the directions, and the length of what is left.
    """
    found = points.new_empty(len(points), directions.shape[1] + 1)
    for some in slices(len(points), _ROWS):
        centred = points[some] - origin
        along = centred @ directions
        found[some, :-1] = along
        left = torch.addmm(centred, along, directions.T, alpha=-1)
        found[some, -1] = torch.linalg.vector_norm(left, dim=1)
    return found


def _in_columns(values: Tensor, filled: float) -> Tensor:
    """Values of the points (M, ...), `_COLUMNS` at a time, (tiles, `_COLUMNS`, ...)."""
    whole = values.new_full((-(-len(values) // _COLUMNS) * _COLUMNS, *values.shape[1:]), filled)
    whole[: len(values)] = values
    tiles: Tensor = whole.unflatten(0, (-1, _COLUMNS))
    return tiles


def pair_squares(ones: Rows, which: Tensor, others: Rows, those: Tensor) -> Tensor:
    """Squared distances of pairs of rows, from their differences; few at a time."""
    parts = zip(which.split(_PAIRS), those.split(_PAIRS), strict=True)
    return torch.cat([_squares(ones[one], others[other]) for one, other in parts])


def _squares(patches: Tensor, nearest: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(patches - nearest, dim=1)
    return lengths.square()
