"""How exactly a frozen backbone computes: the numbers that its matrix products take."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor

from adpt.errors import UserError

Precision = Literal["float32", "tf32", "bfloat16", "float16"]

KEPT = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""The type of numbers that features are rounded to; of another precision they are not."""
_NO_TF32 = "backbone.precision=tf32 needs an NVIDIA GPU: on a CPU take float32, or bfloat16."


def check_precision(precision: str) -> None:
    """Refuse, with a UserError, what is no precision, or none of this machine."""
    known = get_args(Precision)
    if precision not in known:
        raise UserError(f"backbone.precision={precision}: choose one of {', '.join(known)}.")
    if precision == "tf32" and not torch.cuda.is_available():
        raise UserError(_NO_TF32)


@contextmanager
def computing_in(precision: Precision, device: str) -> Iterator[None]:
    """Let matrix products and convolutions on a device take numbers of a precision.

    Weights stay as they are, and sums, norms and positions in float32: cast throughout, features
    are farther off and hardly any sooner there. float32 leaves all as it is found.

    Raises:
        UserError: The device has no such numbers.
    """
    if precision == "tf32":
        if device != "cuda":
            raise UserError(_NO_TF32)
        with _tf32():
            yield
    elif precision in KEPT:
        with torch.autocast(device, KEPT[precision]):
            yield
    else:
        yield


@contextmanager
def _tf32() -> Iterator[None]:
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = True
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def rounded(level: Tensor, precision: Precision, name: str) -> Tensor:
    """A level as its precision keeps it, in float32; `name` is the backbone's, for the message.

    Raises:
        UserError: Numbers are too large for float16.
    """
    if precision not in KEPT:
        return level
    kept = level.to(KEPT[precision])
    if precision == "float16" and not bool(kept.isfinite().all()):
        raise UserError(
            f"Features of {name} are beyond float16's largest number, 65504: take"
            " backbone.precision=bfloat16 or float32."
        )
    return kept.float()
