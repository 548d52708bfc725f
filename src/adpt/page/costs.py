"""Costs of methods: the tables, and accuracy against latency as a picture."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from adpt.page.headline import axis
from adpt.results import Summary, title
from adpt.results.cost_tables import Costed, cost_tables, costed
from adpt.results.table import Table

WIDTH, HEIGHT = 460.0, 260.0
_LETTER, _LINE, _RADIUS = 5.6, 11.0, 4.5
_CORNER = (0.0, 0.0, 110.0, 16.0)
"""Where the picture says which corner is the good one."""

Box = tuple[float, float, float, float]
"""Left, top, right and lower end."""


class Point(NamedTuple):
    """A method on one kind of features: where it stands, and what it is called in words."""

    name: str
    kind: str
    x: float
    y: float
    told: str


class Label(NamedTuple):
    """A method's name; the path leads to its point where it stands apart."""

    text: str
    x: float
    y: float
    path: str


class Scatter(NamedTuple):
    """One metric against milliseconds an image, the fast and good ones at the upper left.

    Attributes:
        title: What it shows.
        points: One for each method and kind of features.
        links: A path through the points of each method.
        front: A path along the points that none beats in both.
        labels: Names for which there is room.
        x_ticks: Places and texts.
        y_ticks: Likewise.
        unnamed: How many names found no room.
    """

    title: str
    points: list[Point]
    links: list[str]
    front: str
    labels: list[Label]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    unnamed: int


class SetCosts(NamedTuple):
    """A data set's table and pictures."""

    table: Table
    pictures: list[Scatter]


def section(summaries: Sequence[Summary], metrics: Sequence[str]) -> list[SetCosts]:
    """Tables and pictures of each data set that costs were measured on."""
    sets = costed(summaries, metrics).values()
    return [
        SetCosts(table, [one for metric in metrics if (one := _scatter(rows, metric))])
        for table, rows in zip(cost_tables(summaries, metrics), sets, strict=True)
    ]


def _scatter(rows: Sequence[Costed], metric: str) -> Scatter | None:
    shown = (row for row in rows if not math.isnan(row.metrics[metric]))
    known = [row for row in shown if row.costs.get("ms_1", 0) > 0]  # Their logarithm is plotted.
    if len(known) < 2:
        return None
    place, texts = axis([row.metrics[metric] for row in known])
    ticks = log_ticks([row.costs["ms_1"] for row in known])
    low, span = math.log(ticks[0]), math.log(ticks[-1] / ticks[0])

    def across(value: float) -> float:
        return WIDTH * (math.log(value) - low) / span

    points = []
    for row in known:
        value, speed = row.metrics[metric], row.costs["ms_1"]
        told = f"{row.name}, {row.kind}: {100 * value:.1f} % in {speed:.3g} ms"
        points.append(Point(row.name, row.kind, across(speed), HEIGHT * (1 - place(value)), told))
    front = list(_front(points))
    labels = list(_labels(points, front))
    step = HEIGHT / (len(texts) - 1)
    # Of many ticks only the powers of ten, and the ends.
    fewer = [t for t in ticks if len(ticks) <= 7 or math.log10(t).is_integer()]
    return Scatter(
        f"{title(metric)} against milliseconds an image",
        points,
        [_path(group) for _, (*group,) in groupby(points, lambda one: one.name)],
        "".join(f"M{a.x:.1f} {a.y:.1f}H{b.x:.1f}V{b.y:.1f}" for a, b in pairwise(front)),
        labels,
        [(across(tick), f"{tick:g}") for tick in fewer],
        [(HEIGHT - step * number, text) for number, text in enumerate(texts)],
        len({point.name for point in points}) - len(labels),
    )


def log_ticks(values: Sequence[float]) -> list[float]:
    """Numbers 1, 2 and 5 times powers of ten that enclose these, at least two."""
    exponents = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 2)
    steps = [float(f"{first}e{exponent}") for exponent in exponents for first in (1, 2, 5)]
    start = max(step for step in steps if step <= min(values))
    end = min(step for step in steps if step > start and step >= max(values))
    return [step for step in steps if start <= step <= end]


def _front(points: Sequence[Point]) -> Iterator[Point]:
    """Points that none beats in accuracy and speed, from fast to slow."""
    highest = math.inf
    for point in sorted(points, key=lambda one: (one.x, one.y)):
        if point.y < highest:
            highest = point.y
            yield point


def _path(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{point.x:.1f} {point.y:.1f}" for point in points)


def _labels(points: Sequence[Point], front: Sequence[Point]) -> Iterator[Label]:
    """The name of each method beside its best point, those of the front first."""
    taken = [_CORNER, *(_around(point) for point in points)]
    named = set()
    for point in [*front, *sorted(points, key=lambda one: one.y)]:
        if point.name in named:
            continue
        for x, y, away in _places(point):
            box = _box(point.name, x, y)
            if _inside(box) and not any(_meet(box, other) for other in taken):
                taken.append(box)
                named.add(point.name)
                path = f"M{point.x:.1f} {point.y:.1f}L{x:.1f} {y - 3.5:.1f}" if away else ""
                yield Label(point.name, x, y, path)
                break


def _places(point: Point) -> Iterator[tuple[float, float, bool]]:
    """Middles of a label's base line around a point, nearest first; True for those further off."""
    half = _LETTER * len(point.name) / 2
    for away in range(5):
        for side in (half + 8, -half - 8):
            for drop in (away * _LINE, -away * _LINE):
                yield point.x + side, point.y + 3.5 + drop, away > 1
        for drop in (-8 - away * _LINE, 15 + away * _LINE):
            yield point.x, point.y + drop, away > 1


def _box(text: str, x: float, y: float) -> Box:
    half = _LETTER * len(text) / 2
    return x - half, y - _LINE + 2, x + half, y + 2


def _around(point: Point) -> Box:
    return point.x - _RADIUS, point.y - _RADIUS, point.x + _RADIUS, point.y + _RADIUS


def _inside(box: Box) -> bool:
    return box[0] > 0 and box[1] > 0 and box[2] < WIDTH and box[3] < HEIGHT


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
