"""The figure that a page begins with: a row a method, a dot for each kind of features."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from adpt.results import Comparison, Summary, title
from adpt.results.compare import variant_in_words
from adpt.results.record import FEATURES
from adpt.results.words import plural, setting_in_words

_MOST_ROWS = 24
_STEP = 0.05
"""The axis begins and ends at a multiple of this share."""


class Row(NamedTuple):
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
    rows: list[Row]
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
        rows = [(_name(summary, summaries), summary.mean.metrics) for summary in summaries]
    found = (
        _headline(metric, [(name, of[metric]) for name, of in rows if metric in of])
        for metric in metrics
    )
    return [one for one in found if one is not None]


def _name(summary: Summary, summaries: Sequence[Summary]) -> str:
    """The method, with what differs between summaries."""
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


def _headline(metric: str, rows: Sequence[tuple[str, Comparison]]) -> Headline | None:
    kept = [
        (name, {kind: v for kind in FEATURES if not math.isnan(v := getattr(one, kind))})
        for name, one in rows
    ]
    kept = [(name, values) for name, values in kept if values]
    if len(kept) < 2:
        return None
    shown = kept[:_MOST_ROWS]
    every = [value for _, values in shown for value in values.values()]
    first = math.floor(min(every) / _STEP + 1e-9)
    last = max(math.ceil(max(every) / _STEP - 1e-9), first + 1)
    # Few ticks, evenly spread: a doubled step until there are at most five gaps, and none beyond
    # what a fraction can be.
    step = 1
    while (last - first) / step > 5:
        step *= 2
    last = first + math.ceil((last - first) / step) * step
    beyond = max(0, last - max(round(1 / _STEP), math.ceil(max(every) / _STEP - 1e-9)))
    first, last = first - beyond, last - beyond
    low, width = first * _STEP, (last - first) * _STEP
    ticks = [f"{100 * _STEP * number:.0f}" for number in range(first, last + 1, step)]
    placed = [
        Row(n, {k: min(max((v - low) / width, 0.0), 1.0) for k, v in values.items()})
        for n, values in shown
    ]
    return Headline(f"{title(metric)} in percent", placed, ticks, len(kept) - len(shown))
