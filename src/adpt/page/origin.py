"""The conditions behind the results: settings, counts, references and commands."""

from collections.abc import Sequence
from typing import Any

from adpt.results import Record
from adpt.results.conditions import commands, facts

_COUNTED = ("train", "test", "anomalous", "skipped")


def section(records: Sequence[Record]) -> dict[str, Any]:
    """Everything that tells under which conditions the numbers were taken."""
    classes: dict[tuple[str, str], list[list[int]]] = {
        of: [
            sorted({r.counts[name] for r in records if _class(r) == of and name in r.counts})
            for name in _COUNTED
        ]
        for of in sorted(set(map(_class, records)))
    }
    return {
        "facts": facts(records),
        "commands": commands(records),
        "counted": _COUNTED,
        "counts": {" · ".join(of): list(map(_range, found)) for of, found in classes.items()},
        "uneven": any(len(numbers) > 1 for found in classes.values() for numbers in found),
        "references": dict.fromkeys(
            (*_class(r), r.seed, r.references) for r in records if r.references
        ),
    }


def _class(record: Record) -> tuple[str, str]:
    return record.dataset, record.class_name


def _range(numbers: Sequence[int]) -> str:
    if not numbers:
        return "–"
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
