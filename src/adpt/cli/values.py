"""Plain values of a config: shown, listed, and told apart."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import ListConfig


def shown(value: Any) -> str:
    """A value as one writes it on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple | ListConfig):
        return f"[{','.join(map(shown, value))}]"
    return str(value)


def names(value: Any) -> list[str] | None:
    """The names that an option of `adpt.cli.options.Names` gives; None for null."""
    if value is None:
        return None
    listed = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [str(name) for name in listed]


def leaves(config: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The plain values of a config by their dotted names; lists count as one value."""
    if not isinstance(config, Mapping):
        yield name, config
        return
    for key, value in config.items():
        yield from leaves(value, f"{name}.{key}" if name else str(key))


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In words, what differs between the plain values of two configs or the like, by name."""
    # What was read from a file went through JSON, which knows no tuples.
    before, now = (json.loads(json.dumps(values, default=str)) for values in (before, now))
    pairs = {n: (before.get(n, _NO), now.get(n, _NO)) for n in sorted(now.keys() | before.keys())}
    # As text: a class of the user's own may tell 1 from 1.0.
    return [
        _change(name, *pair) for name, pair in pairs.items() if len(set(map(json.dumps, pair))) > 1
    ]


_NO = "not there"


def _change(name: str, before: Any, now: Any) -> str:
    if _is_hash(before) and _is_hash(now):
        return f"{name} changed"
    before, now = ("there" if _is_hash(value) else shown(value) for value in (before, now))
    return f"{name}: {before} → {now}"


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64
