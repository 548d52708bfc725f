"""The search for the largest products as ONNX operators; for `onnx_file.py`, needs its extra."""

from typing import Any

from onnxscript import FLOAT, INT64, graph, opset18, script

op: Any = opset18
"""Its functions take numbers and lists too, which their annotations do not say."""
_GROUP = 64
_PRODUCTS = 2**20


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
