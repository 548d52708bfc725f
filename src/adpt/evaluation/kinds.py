"""The kinds of features that methods are compared on."""

from collections.abc import Sequence

from adpt.errors import UserError
from adpt.projector import FeatureProjector
from adpt.residual import KINDS, Kind


def choose_kinds(wanted: Sequence[str] | None, projector: FeatureProjector | None) -> list[Kind]:
    """The kinds of features to evaluate: those asked for, or all that can be had.

    Raises:
        UserError: A kind is unknown, or "pretrained" is asked for without a projector.
    """
    if wanted is None:
        return [kind for kind in KINDS if projector is not None or kind != "pretrained"]
    unknown = [name for name in wanted if name not in KINDS]
    if unknown or not wanted:
        raise UserError(f"features={list(wanted)}: choose some of {', '.join(KINDS)}.")
    if projector is None and "pretrained" in wanted:
        raise UserError("features=[pretrained] needs a projector: projector=<path>.")
    return [kind for kind in KINDS if kind in wanted]
