"""Names of a table's rows: a method, with what tells it from the other rows."""

from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import NamedTuple

from adpt.results.budget import MARK
from adpt.results.summary import Summary
from adpt.results.words import plural, setting_in_words


class Key(NamedTuple):
    """Tells a block of lines from the others of its table."""

    method: str
    options: str
    shots: int | None
    variant: str | None


def keys_of(summaries: Sequence[Summary]) -> list[Key]:
    """The marks that tell each summary from the others of its table, but its data set."""
    variants = {summary.variant for summary in summaries} - {None}
    shots: dict[str, set[int]] = {}
    for summary in summaries:
        if summary.shots is not None:
            shots.setdefault(summary.method, set()).add(summary.shots)
    keys = []
    for summary in summaries:
        number, others = summary.shots, shots.get(summary.method, set())
        if number is None and len(others) == 1:
            # Own features alone, as yet, belong beside the others of their method.
            number = next(iter(others))
        options = ", ".join(summary.budget)
        keys.append(Key(summary.name, options, number, _variant(summary, variants)))
    return keys


def _variant(summary: Summary, variants: set[str | None]) -> str | None:
    # Projectors told apart on one data set may be single on another: there they go by their hash.
    alone = summary.projector_sha256
    return summary.variant or (alone if alone in variants else None)


def order_of(key: Key, keys: Sequence[Key]) -> tuple[int, int, int]:
    """Sorts keys by method as they first came, then by number of references."""
    methods = list(dict.fromkeys(unmarked(other) for other in keys))
    return methods.index(unmarked(key)), key.shots or 0, keys.index(key)


def unmarked(key: Key) -> str:
    """The method's name without its mark."""
    return key.method.removesuffix(MARK)


def name_of(key: Key, keys: Iterable[Key]) -> str:
    """The method's name with what tells it from others of these keys."""
    parts = [key.method]
    if key.options and len({k.options for k in keys if unmarked(k) == unmarked(key)}) > 1:
        parts.append(key.options)
    if key.shots is not None and len({k.shots for k in keys if k.shots is not None}) > 1:
        parts.append(plural(key.shots, "reference"))
    if key.variant is not None:
        parts.append(variant_in_words(key.variant))
    return ", ".join(parts)


def name_among(summary: Summary, summaries: Sequence[Summary]) -> str:
    """The method, with what differs between summaries of any data sets and backbones."""
    parts = [summary.name]
    for part in ("dataset", "backbone", "protocol"):
        if len({getattr(one, part) for one in summaries}) > 1:
            parts.append(getattr(summary, part))
    same = [one for one in summaries if one.name == summary.name]
    if len({one.shots for one in same}) > 1 and summary.shots is not None:
        parts.append(plural(summary.shots, "reference"))
    if len({str(one.varied) for one in same}) > 1:
        parts += setting_in_words(summary.varied)
    if len({one.variant for one in same}) > 1 and summary.variant is not None:
        parts.append(variant_in_words(summary.variant))
    return " · ".join(parts)


def variant_in_words(variant: str) -> str:
    """Projectors by name on the hub, end of a path, or start of a hash."""
    if variant.startswith("hub:"):
        return f"projector {variant}"
    path = PurePath(variant)
    parts = [part for part in path.parts if part != "*"]
    return f"projectors {'/'.join(parts[-3:])}" if path.suffix else f"projector {variant[:8]}"


def with_classes(dataset: str, summaries: Iterable[Summary]) -> str:
    """A data set's name with its number of classes, where all summaries have as many."""
    counts = {len(s.rows) for s in summaries if s.dataset == dataset}
    if len(counts) > 1:
        return dataset
    number = counts.pop()
    return f"{dataset} ({number} {'class' if number == 1 else 'classes'})"
