"""Types of options: whether a value of a config is of one, and what it is called in a message."""

import inspect
import typing
from collections import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin


@dataclass(frozen=True)
class Range:
    """The numbers that an option takes, in `Annotated` beside its type."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        ends = (
            ("of at least", self.least), ("above", self.above), ("at most", self.most),
            ("below", self.below),
        )  # fmt: skip
        return " and ".join(f"{word} {end}" for word, end in ends if end is not None)


Text = Annotated[str, "text"]
"""Text that is not empty. In place of plain `str` a number is taken too: 3 may be a name."""

_SCALARS: Mapping[Any, tuple[str, tuple[type, ...]]] = {
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    str: ("text", (str, int, float)),
    Path: ("text", (str, int, float)),
    PathLike: ("text", (str, int, float)),
    NoneType: ("null", (NoneType,)),
}
_LISTS_OF = {
    int: "a list of whole numbers", float: "a list of numbers", str: "a list of names",
}  # fmt: skip
_LISTS = (list, tuple, set, frozenset, Sequence, Iterable, AbstractSet)


def fits(value: Any, hint: Any) -> bool:
    """True if a plain value of a config is of a type; of a type that no config can tell, any is."""
    if isinstance(value, Mapping) and "_target_" in value:
        return True  # An object, of a type that shows once it is made.
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if hint == Text and not (isinstance(value, str) and value):
            return False
        ranges = [one for one in inner[1:] if isinstance(one, Range)]
        return fits(value, inner[0]) and all(value in one for one in ranges)
    if origin in (Union, UnionType):
        plain = [one for one in inner if _is_plain(one)]
        # A class may make what it wants of a plain value itself; but text is no number.
        no_number = isinstance(value, str) and not {int, float}.isdisjoint(plain)
        return any(fits(value, one) for one in plain) or (len(plain) < len(inner) and not no_number)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if hint in _SCALARS:
        return isinstance(value, _SCALARS[hint][1]) and isinstance(value, bool) == (hint is bool)
    if (origin or hint) in _LISTS:
        element = next((one for one in inner if one is not Ellipsis), Any)
        if not _is_list(value):
            return element is str and fits(value, str)  # One name is a list of one.
        one_each = len(inner) > 1 and Ellipsis not in inner
        elements = inner if one_each else [element] * len(value)
        return len(elements) == len(value) and all(map(fits, value, elements))
    if (origin or hint) in (dict, Mapping):
        return isinstance(value, Mapping)
    return True


def wanted(hint: Any) -> str:
    """The values that are wanted, in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        ranges = [str(one) for one in inner[1:] if isinstance(one, Range)]
        return " ".join([wanted(inner[0]), *ranges])
    if origin in (Union, UnionType):
        *others, last = sorted(dict.fromkeys(map(wanted, inner)), key="null".__eq__)
        return f"{', '.join(others)} or {last}" if others else last
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if hint in _SCALARS:
        return _SCALARS[hint][0]
    if (origin or hint) in _LISTS:
        element = inner[0] if inner else Any
        of = f"a list of {', '.join(map(str, get_args(element)))}"
        return of if get_origin(element) is Literal else _LISTS_OF.get(element, "a list")
    if (origin or hint) in (dict, Mapping):
        return "names, each with what it holds below it"
    return "something made by a _target_"


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The types of a function's arguments; `Any` where none is annotated, or it cannot be read."""
    inner = inspect.unwrap(function)
    # Of the standard names some are imported for a type checker alone.
    names = {**vars(typing), **vars(abc), **getattr(inner, "__globals__", {})}
    return {
        name: _read(parameter.annotation, names)
        for name, parameter in inspect.signature(function).parameters.items()
    }


def _read(annotation: Any, names: dict[str, Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    try:
        hash(annotation)
        # The source of a class that is to be made next.
        return eval(annotation, names) if isinstance(annotation, str) else annotation  # noqa: S307
    except Exception:
        return Any


def _is_plain(hint: Any) -> bool:
    """True for types whose values a config can hold as they are."""
    origin = get_origin(hint)
    of = origin or hint
    return of in (Annotated, Literal, Union, UnionType, dict, Mapping, *_LISTS) or of in _SCALARS


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
