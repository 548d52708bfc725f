"""A table as it is shown, before Markdown, LaTeX, HTML or the terminal write it."""

import math
from dataclasses import dataclass
from itertools import groupby, pairwise

from adpt.results.record import FEATURES
from adpt.results.summary import Comparison
from adpt.results.words import percent, points

MINUS = {"own": "difference", "residual": "beyond_residual"}
"""Features to hold pretrained ones against, and the difference's name in a `Comparison`."""


@dataclass(frozen=True)
class Figure:
    """A number.

    Args:
        text: As it is shown.
        best: True for the best of those that it stands beside.
        second: True for the next best.
        trend: 1 for a gain, -1 for a loss; 0 for what is neither.
    """

    text: str
    best: bool = False
    second: bool = False
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
        foot: True if the last block sums up the others.
    """

    title: str
    caption: str
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()
    foot: bool = False

    @property
    def spans(self) -> list[tuple[str, int]]:
        """Headings over the columns, each with the number of neighbours that it covers."""
        groups = groupby(enumerate(self.columns), lambda pair: pair[1].over or pair[0])
        return [(group[0][1].over, len(group)) for _, (*group,) in groups]

    @property
    def edges(self) -> list[bool]:
        """For each column after the first, True if a heading over several columns begins there."""
        return [
            bool(after.over) and after.over != before.over
            for before, after in pairwise(self.columns)
        ]


def values(comparison: Comparison) -> dict[str, Figure]:
    """A figure for each kind of features, the best of several marked, ties as they are shown."""
    shown = {f: percent(getattr(comparison, f)) for f in FEATURES}
    known = {f: float(text) for f, text in shown.items() if text != percent(math.nan)}
    best = max(known.values()) if len(known) > 1 else math.inf
    return {
        f: Figure(
            percent(getattr(comparison, f), comparison.deviation(f), comparison.intervals.get(f)),
            known.get(f) == best,
        )
        for f in FEATURES
    }


def gain(difference: float) -> Figure:
    """A difference in points with its sign."""
    text = points(difference)
    return Figure(text, trend={"+": 1, "−": -1}.get(text[0], 0))
