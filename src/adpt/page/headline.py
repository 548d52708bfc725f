"""The figure that a page begins with: a row a method, a dot for each kind of features."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from adpt.results import Comparison, Summary, title
from adpt.results.record import FEATURES
from adpt.results.row_names import name_among

_MOST_ROWS = 24
_STEP = 0.05
"""The axis begins and ends at a multiple of this share."""


class DotRow(NamedTuple):
    """A row: its name, and the dots' places from left to right in [0, 1] by kind of features."""

    name: str
    dots: Mapping[str, float]


class Headline(NamedTuple):
    """One metric of all rows.

    Attributes:
        title: What the dots show.
        rows: From above.
        ticks: Texts of the axis, spread evenly.
        more: Rows that are not shown.
    """

    title: str
    rows: list[DotRow]
    ticks: list[str]
    more: int

    @property
    def kinds(self) -> list[str]:
        """Kinds of features that some row has."""
        return [kind for kind in FEATURES if any(kind in row.dots for row in self.rows)]


def headlines(summaries: Sequence[Summary], metrics: Sequence[str]) -> list[Headline]:
    """A figure for each metric, of methods where there are several, else of classes.

    Args:
        summaries: What the page's tables show.
        metrics: Names of metrics; those that nobody has are left out.
    """
    if len(summaries) == 1:
        rows = [(row.name, row.metrics) for row in summaries[0].rows]
    else:
        rows = [(name_among(summary, summaries), summary.mean.metrics) for summary in summaries]
    found = (
        _headline(metric, [(name, of[metric]) for name, of in rows if metric in of])
        for metric in metrics
    )
    return [one for one in found if one is not None]


def _headline(metric: str, rows: Sequence[tuple[str, Comparison]]) -> Headline | None:
    kept = [
        (name, {kind: v for kind in FEATURES if not math.isnan(v := getattr(one, kind))})
        for name, one in rows
    ]
    kept = [(name, values) for name, values in kept if values]
    if len(kept) < 2:
        return None
    shown = kept[:_MOST_ROWS]
    place, ticks = axis([value for _, values in shown for value in values.values()])
    placed = [DotRow(n, {kind: place(v) for kind, v in values.items()}) for n, values in shown]
    return Headline(f"{title(metric)} in percent", placed, ticks, len(kept) - len(shown))


def axis(values: Sequence[float]) -> tuple[Callable[[float], float], list[str]]:
    """An axis that holds these fractions: a value's place in [0, 1], and texts spread evenly."""
    first = math.floor(min(values) / _STEP + 1e-9)
    last = max(math.ceil(max(values) / _STEP - 1e-9), first + 1)
    # Few ticks, evenly spread: a doubled step until there are at most five gaps, and none beyond
    # what a fraction can be.
    step = 1
    while (last - first) / step > 5:
        step *= 2
    last = first + math.ceil((last - first) / step) * step
    beyond = max(0, last - max(round(1 / _STEP), math.ceil(max(values) / _STEP - 1e-9)))
    first, last = first - beyond, last - beyond
    low, width = first * _STEP, (last - first) * _STEP
    ticks = [f"{100 * _STEP * number:.0f}" for number in range(first, last + 1, step)]
    return lambda value: min(max((value - low) / width, 0.0), 1.0), ticks
