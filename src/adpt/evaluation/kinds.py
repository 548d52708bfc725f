"""The kinds of features that methods are compared on."""

from collections.abc import Sequence
from typing import Literal

from adpt.errors import UserError
from adpt.projector import FeatureProjector

Kind = Literal["own", "residual", "pretrained"]


def choose_kinds(wanted: Sequence[str] | None, projector: FeatureProjector | None) -> list[Kind]:
    """The kinds of features to evaluate: those asked for, or all that can be had.

    Raises:
        UserError: A kind is unknown, or "pretrained" is asked for without a projector.
    """
    kinds: tuple[Kind, ...] = ("own", "residual", "pretrained")
    if wanted is None:
        return list(kinds if projector is not None else kinds[:2])
    unknown = [name for name in wanted if name not in kinds]
    if unknown or not wanted:
        raise UserError(f"features={list(wanted)}: choose some of {', '.join(kinds)}.")
    if projector is None and "pretrained" in wanted:
        raise UserError("features=[pretrained] needs a projector: projector=<path>.")
    return [kind for kind in kinds if kind in wanted]
