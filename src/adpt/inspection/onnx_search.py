"""Searches for what is nearest as ONNX operators; for `onnx_file.py`, needs its extra."""

from typing import Any

from onnxscript import FLOAT, INT64, graph, opset18, script

from adpt.methods.nearest_patches import ROUNDING

op: Any = opset18
"""Its functions take numbers and lists too, which their annotations do not say."""
_GROUP = 64
_PRODUCTS = 2**20
_PAIRS = 2**12


@script(default_opset=opset18)
def largest_products_in_parts(
    queries: FLOAT[None, None],  # type: ignore[type-arg]
    points: FLOAT[None, None],  # type: ignore[type-arg]
) -> INT64[None]:  # type: ignore[type-arg]
    """`adpt.nearest.largest_products`, of a few queries at a time.

    onnxruntime takes maxima fast and looks for their places slowly. So each 64 points have a
    maximum first; then the largest of these is looked for, and its place among its 64. About a
    million products, 4 MB, are held at once, or those of one query: in the processor's cache.
    """
    count = op.Shape(queries, start=0, end=1)
    number = op.Shape(points, start=0, end=1)
    size = op.Constant(value_ints=[_GROUP])
    groups = (number + size - 1) / size
    # The last point fills up its group: of equal ones the first is found.
    missing = groups * size - number
    filled = op.Pad(points, op.Concat([0, 0], missing, [0], axis=0), mode="edge")
    columns = op.Transpose(filled, perm=[1, 0])
    parts = op.Max((count * groups * size + (_PRODUCTS - 1)) / _PRODUCTS, [1])
    rows = (count + parts - 1) / parts
    # The last query fills up the last part.
    order = op.Min(op.Range(0, op.Squeeze(parts * rows), 1), count - 1)

    @graph()
    def search(some: INT64[None]) -> INT64[None]:  # type: ignore[type-arg]
        products = op.MatMul(op.Gather(queries, some), columns)
        grouped = op.Reshape(products, op.Concat([0], groups, size, axis=0))
        largest = op.ArgMax(op.ReduceMax(grouped, [2], keepdims=0), axis=1, keepdims=1)
        place = op.ArgMax(op.GatherND(grouped, largest, batch_dims=1), axis=1, keepdims=0)
        those: INT64 = op.Min(op.Squeeze(largest, [1]) * size + place, number - 1)
        return those

    parted = op.Reshape(order, op.Concat(parts, rows, axis=0), allowzero=1)
    found = op.Reshape(op.Scan(parted, body=search, num_scan_inputs=1), [-1])
    nearest: INT64 = op.Slice(found, [0], count)
    return nearest


@script(default_opset=opset18)
def nearest_squares_in_parts(
    patches: FLOAT[None, None],  # type: ignore[type-arg]
    points: FLOAT[None, None],  # type: ignore[type-arg]
    origin: FLOAT[None],  # type: ignore[type-arg]
    directions: FLOAT[None, None],  # type: ignore[type-arg]
    seen: FLOAT[None, None],  # type: ignore[type-arg]
) -> FLOAT[None]:  # type: ignore[type-arg]
    """`adpt.methods.nearest_patches.NearestPatches.squares`, of a few patches at a time.

    As there, a product in few dimensions leaves a few points for each patch, whose distances are
    taken from the differences. Where more than 4,096 pairs are left of a part's million, a product
    of all dimensions takes no longer. Arguments as of `nearest_patches.squares_as_one_node`.
    """
    count = op.Shape(patches, start=0, end=1)
    number = op.Shape(points, start=0, end=1)
    filled = op.Shape(seen, start=0, end=1)
    size = op.Constant(value_ints=[_GROUP])
    most = op.Constant(value_int=_PAIRS)
    columns = op.Transpose(seen, perm=[1, 0])
    half = op.Gather(columns, -1, axis=0)
    lowest = op.ReduceMin(op.Slice(half, [0], number), keepdims=0)
    rounding = op.Constant(value_float=ROUNDING)
    halves = op.Unsqueeze(op.ReduceSumSquare(op.Sub(points, origin), [1], keepdims=0) / 2.0, [0])
    parts = op.Max((count * filled + (_PRODUCTS - 1)) / _PRODUCTS, [1])
    rows = (count + parts - 1) / parts
    # The last patch fills up the last part.
    order = op.Min(op.Range(0, op.Squeeze(parts * rows), 1), count - 1)
    grid = op.Concat([0], filled / size, size, axis=0)

    @graph()
    def search(some: INT64[None]) -> FLOAT[None]:  # type: ignore[type-arg]
        few = op.Gather(patches, some)
        centred = few - origin
        along = op.MatMul(centred, directions)
        left = centred - op.MatMul(along, op.Transpose(directions, perm=[1, 0]))
        shadow = op.Concat(along, op.ReduceL2(left, [1]), axis=1)
        one = op.Expand(op.Constant(value_float=1.0), op.Concat(rows, [1], axis=0))
        products = op.MatMul(op.Concat(shadow, one, axis=1), columns)
        grouped = op.Reshape(products, grid)
        largest = op.ReduceMax(grouped, [2], keepdims=0)
        group = op.ArgMax(largest, axis=1, keepdims=1)
        place = op.ArgMax(op.GatherND(grouped, group, batch_dims=1), axis=1, keepdims=0)
        first = op.Min(op.Squeeze(group, [1]) * size + place, number - 1)
        closest = op.ReduceSumSquare(few - op.Gather(points, first), [1], keepdims=0)
        lengths = op.ReduceSumSquare(shadow, [1], keepdims=0)
        least = op.Unsqueeze((lengths - closest - (lengths - lowest * 2.0) * rounding) / 2.0, [1])
        groups = op.Transpose(op.NonZero(largest >= least), perm=[1, 0])
        owners = op.Gather(groups, 0, axis=1)
        within = op.GatherND(grouped, groups) >= op.Gather(least, owners)
        pairs = op.NonZero(within)
        near = op.Gather(pairs, 0, axis=0)
        owned = op.Gather(owners, near)
        tiles = op.Gather(op.Gather(groups, 1, axis=1), near)
        left_over = op.Min(tiles * size + op.Gather(pairs, 1, axis=0), number - 1)
        further = op.Not(op.Equal(left_over, op.Gather(first, owned)))
        which, others = op.Compress(owned, further), op.Compress(left_over, further)
        many = op.Size(which) > most
        if many:
            # A branch may hold a single assignment.
            nearest = op.ReduceSumSquare(
                few
                - op.Gather(
                    points,
                    op.ArgMax(
                        op.MatMul(centred, op.Transpose(op.Sub(points, origin), perm=[1, 0]))
                        - halves,
                        axis=1,
                        keepdims=0,
                    ),
                ),
                [1],
                keepdims=0,
            )
        else:
            nearest = op.ScatterElements(
                closest,
                which,
                op.ReduceSumSquare(
                    op.Gather(few, which) - op.Gather(points, others), [1], keepdims=0
                ),
                axis=0,
                reduction="min",
            )
        those: FLOAT = op.Identity(nearest)
        return those

    parted = op.Reshape(order, op.Concat(parts, rows, axis=0), allowzero=1)
    found = op.Reshape(op.Scan(parted, body=search, num_scan_inputs=1), [-1])
    squares: FLOAT = op.Slice(found, [0], count)
    return squares
