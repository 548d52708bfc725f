"""Names of a run's losses in its log."""

import re

from torch import nn


def terms_of(**losses: nn.Module | None) -> dict[str, str]:
    """Each loss's name in the log: its attribute `term`, or its class in snake case without `Loss`.

    So a loss in another one's place is logged under its own name. Two of the same name are told
    apart by their places, and None is a loss that is left out.
    """
    named = {place: _term(loss) for place, loss in losses.items() if loss is not None}
    names = list(named.values())
    return {p: name if names.count(name) == 1 else f"{name}_{p}" for p, name in named.items()}


def _term(loss: nn.Module) -> str:
    name = type(loss).__name__.removesuffix("Loss") or "loss"
    # Before a capital that begins a word: InfoNCE is info_nce.
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return str(getattr(loss, "term", words.lower()))
