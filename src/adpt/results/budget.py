"""In which options a result differs from its method as published."""

from collections.abc import Iterable
from typing import Any

from adpt.results.record import Record
from adpt.results.words import options_in_words

MARK = "*"
"""Behind the name of a method whose options are not the published ones."""

EPOCHS = {
    "cflow": 200,
    "glass": 640,
    "uniad": 1000,
    "supersimplenet": 300,
    "dinomaly": 45,
    "inp_former": 200,
    "resad": 100,
}
"""Published numbers of epochs."""

ON_PRETRAINED: dict[str, dict[str, tuple[Any, Any]]] = {
    "glass": {"adaptor": (False, True), "noise_std": (0.005, 0.015)}
}
"""Published options that are others on pretrained features: these, and the method's own."""


def budget(records: Iterable[Record]) -> list[str]:
    """A phrase for each option that is not the published one, such as `4 of 200 epochs`.

    Args:
        records: Of one method under the same conditions.
    """
    return options_in_words({record.features: _unpublished(record) for record in records})


def footnote(method: str, phrases: Iterable[str]) -> str:
    """The sentence that `MARK` refers to."""
    return f"{MARK} {method}: {', '.join(phrases)}; not the published options."


def _unpublished(record: Record) -> dict[str, Any]:
    found = dict(record.options)
    if record.features == "pretrained":
        for name, (published, default) in ON_PRETRAINED.get(record.method, {}).items():
            if found.setdefault(name, default) == published:
                del found[name]
    trained, published = record.epochs.get("trained"), EPOCHS.get(record.method)
    if trained is not None and published is not None and trained != published:
        found["epochs"] = f"{trained} of {published}"
    return found
