"""The kinds of features that methods are compared on."""

from collections.abc import Sequence

from adpt.errors import UserError
from adpt.projector import FeatureProjector
from adpt.residual import KINDS, Kind


def choose_kinds(
    wanted: Sequence[str] | None, projector: FeatureProjector | None, *, cross_class: bool = False
) -> list[Kind]:
    """The kinds of features to evaluate: those asked for, or all that can be had.

    Own features of one class say nothing of another: cross-class they are to be asked for.

    Raises:
        UserError: A kind is unknown, or "pretrained" is asked for without a projector.
    """
    if wanted is None:
        left_out = {"own"} if cross_class else set()
        left_out |= {"pretrained"} if projector is None else set()
        return [kind for kind in KINDS if kind not in left_out]
    unknown = [name for name in wanted if name not in KINDS]
    if unknown or not wanted:
        raise UserError(f"features={list(wanted)}: choose some of {', '.join(KINDS)}.")
    if projector is None and "pretrained" in wanted:
        raise UserError("features=[pretrained] needs a projector: projector=<path>.")
    return [kind for kind in KINDS if kind in wanted]
