"""The search behind residual features and PatchCore, in parts so that memory stays bounded."""

import torch
from torch import Tensor

_QUERIES, _TILE = 2**10, 2**11


def largest_products(queries: Tensor, points: Tensor, offsets: Tensor | None = None) -> Tensor:
    """Find for each query the point with the largest scalar product; the first of equal ones.

    At most 1,024 queries meet 2,048 points at a time: 8 MB of products in float32, which are still
    in the processor's cache when their maxima are taken, whatever the sizes. The matrix product
    packs some memory for itself (10 to 60 MB were seen).

    While a graph is traced the search is one node of it, `adpt::largest_products`; an ONNX graph
    makes it in parts of its own (`inspection/onnx_search.py`).

    Args:
        queries: (N, D).
        points: (M, D), M at least 1.
        offsets: (M,), added to each point's products.

    Returns:
        (N,) int64, rows of `points`.
    """
    if torch.compiler.is_compiling():
        if offsets is not None:
            # As one more dimension, in which every query is 1.
            queries = torch.cat([queries, torch.ones_like(queries[:, :1])], 1)
            points = torch.cat([points, offsets[:, None]], 1)
        found: Tensor = as_one_node(queries, points)
        return found
    return _in_tiles(queries, points, offsets)


def _in_tiles(queries: Tensor, points: Tensor, offsets: Tensor | None) -> Tensor:
    offsets = points.new_zeros(points.shape[0]) if offsets is None else offsets
    tiles = list(
        zip(
            range(0, points.shape[0], _TILE),
            points.split(_TILE),
            offsets.split(_TILE),
            strict=True,
        )
    )
    found = []
    for some in slices(queries.shape[0], _QUERIES):
        # Not argmax, which takes longer than max.
        best = [torch.addmm(more, queries[some], part.T).max(1) for _, part, more in tiles]
        tile = torch.stack([one.values for one in best]).argmax(0, keepdim=True)
        places = [first + one.indices for (first, *_), one in zip(tiles, best, strict=True)]
        found.append(torch.stack(places).gather(0, tile)[0])
    return torch.cat(found)


@torch.library.custom_op("adpt::largest_products", mutates_args=())
def as_one_node(queries: Tensor, points: Tensor) -> Tensor:
    """`largest_products`, into which no tracing looks."""
    return _in_tiles(queries, points, None)


@as_one_node.register_fake
def _(queries: Tensor, points: Tensor) -> Tensor:
    return queries.new_empty(queries.shape[0], dtype=torch.int64)


def slices(length: int, step: int) -> list[slice]:
    """Slices that cover a length, one after the other; one, an empty one, of length 0.

    While a graph is exported there is a single slice of all: its loops over a length that is known
    only when it runs are no loops of Python.

    Args:
        length: How much there is.
        step: The length of a part, or of the last one at most; 1 where it is below that.
    """
    if torch.compiler.is_compiling():
        return [slice(None)]
    step = max(1, step)
    return [slice(start, start + step) for start in range(0, max(1, length), step)]
