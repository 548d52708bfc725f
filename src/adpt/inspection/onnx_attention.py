"""Attention as ONNX operators in bounded memory; for `onnx_file.py`, needs its extra."""

from typing import Any

from onnx_ir import DataType
from onnxscript import FLOAT, INT64, graph, opset18, script
from onnxscript.function_libs.torch_lib.ops.nn import aten_scaled_dot_product_attention

op: Any = opset18
"""Its functions take numbers and lists too, which their annotations do not say."""
_WEIGHTS = 2**20


@script(default_opset=opset18)
def unmasked_attention_in_parts(
    queries: FLOAT[None, None, None, None],  # type: ignore[type-arg]
    keys: FLOAT[None, None, None, None],  # type: ignore[type-arg]
    values: FLOAT[None, None, None, None],  # type: ignore[type-arg]
    scale: FLOAT,
) -> FLOAT[None, None, None, None]:  # type: ignore[type-arg]
    """Attention of queries (B, h, N, d) to keys (B, h, M, d) with values (B, h, M, e).

    A few queries at a time: about a million weights, 4 MB, are held at once, or those of one query
    of each head.
    """
    count = op.Shape(queries, start=2, end=3)
    number = op.Shape(keys, start=2, end=3)
    heads = op.ReduceProd(op.Shape(queries, start=0, end=2), keepdims=1)
    parts = op.Max((heads * count * number + (_WEIGHTS - 1)) / _WEIGHTS, [1])
    rows = (count + parts - 1) / parts
    # The last query fills up the last part.
    order = op.Min(op.Range(0, op.Squeeze(parts * rows), 1), count - 1)
    columns = op.Transpose(op.Mul(keys, scale), perm=[0, 1, 3, 2])

    @graph()
    def attend(some: INT64[None]) -> FLOAT[None, None, None, None]:  # type: ignore[type-arg]
        weights = op.Softmax(op.MatMul(op.Gather(queries, some, axis=2), columns), axis=-1)
        attended: FLOAT = op.MatMul(weights, values)
        return attended

    parted = op.Reshape(order, op.Concat(parts, rows, axis=0), allowzero=1)
    found = op.Scan(parted, body=attend, num_scan_inputs=1, scan_output_axes=[2])
    # Of its own shape, where images or heads share their queries.
    together = op.Concat(
        op.Shape(found, start=0, end=2), parts * rows, op.Shape(values, start=3, end=4), axis=0
    )
    attended: FLOAT = op.Slice(op.Reshape(found, together, allowzero=1), [0], count, [2])
    return attended


def attention_in_parts(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    *by_place: Any,
    scale: float | None = None,
    **by_name: Any,
) -> Any:
    """`torch.nn.functional.scaled_dot_product_attention`.

    As torch exports it where it is none that `unmasked_attention_in_parts` makes: with a mask, for
    instance, or in float64.
    """
    plain = query.dtype == DataType.FLOAT and len(query.shape) == 4
    if not plain or attn_mask is not None or any(by_place) or any(by_name.values()):
        return aten_scaled_dot_product_attention(
            query, key, value, attn_mask, *by_place, scale=scale, **by_name
        )
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    return unmasked_attention_in_parts(query, key, value, op.Constant(value_float=factor))
