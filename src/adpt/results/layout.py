"""A table as it is shown, before Markdown, LaTeX, HTML or the terminal write it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from adpt.results.record import FEATURES
from adpt.results.summary import Comparison
from adpt.results.words import percent, points

MINUS = {"own": "difference", "residual": "beyond_residual"}
"""What pretrained features are held against, and the name of that difference in a `Comparison`."""


@dataclass(frozen=True)
class Figure:
    """A number.

    Args:
        text: As it is shown.
        best: Whether it is the best of those that it stands beside.
        trend: 1 for a gain, -1 for a loss; 0 for what is neither.
    """

    text: str
    best: bool = False
    trend: int = 0


UNKNOWN = Figure(percent(math.nan))

Cell = tuple[Figure, ...]
"""Figures with a slash between them, as a pair of metrics is usually shown."""


@dataclass(frozen=True)
class Column:
    """A column's name, and what stands over it and over its neighbours of the same."""

    name: str
    over: str = ""


@dataclass(frozen=True)
class Line:
    """A line's name and its cells, one for each column after that of the names."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Block:
    """Lines that belong together, under a name of their own or none."""

    name: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """A table with what a reader must know of it.

    Args:
        title: What it is of.
        caption: Under which conditions its numbers were taken.
        columns: First that of the lines' names.
        blocks: Its lines; the last block is the foot where `foot` is set.
        notes: What limits its numbers, a sentence each.
        foot: Whether the last block sums up the others.
    """

    title: str
    caption: str
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()
    foot: bool = False


def spans(columns: Iterable[Column]) -> list[tuple[str, int]]:
    """What stands over the columns, each with the number of neighbours that it covers."""
    found: list[tuple[str, int]] = []
    for column in columns:
        if found and column.over and found[-1][0] == column.over:
            found[-1] = (column.over, found[-1][1] + 1)
        else:
            found.append((column.over, 1))
    return found


def values(comparison: Comparison) -> dict[str, Figure]:
    """A figure for each kind of features, the best of several marked, ties as they are shown."""
    shown = {f: percent(getattr(comparison, f)) for f in FEATURES}
    known = {f: float(text) for f, text in shown.items() if text != percent(math.nan)}
    best = max(known.values()) if len(known) > 1 else math.inf
    return {
        f: Figure(percent(getattr(comparison, f), comparison.deviation(f)), known.get(f) == best)
        for f in FEATURES
    }


def gain(difference: float) -> Figure:
    """A difference in points with its sign."""
    text = points(difference)
    return Figure(text, trend={"+": 1, "−": -1}.get(text[0], 0))
