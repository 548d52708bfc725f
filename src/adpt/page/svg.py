"""Small plots as inline SVG: `plot.svg.j2` sets them, their colours come from the page's style."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

_SIDE = 160.0


class Mark(NamedTuple):
    """Something in a plot: a `line`, an `area` or `dots`, in the colour of a class of the style."""

    kind: str
    name: str
    path: str


class Plot(NamedTuple):
    """A square plot.

    Attributes:
        title: Stands above, and is what a screen reader says.
        marks: What it shows, each above those before.
        x_label: Stands below.
        y_label: Stands at the left.
        x_ticks: At least two texts, spread evenly from the left end of the axis to its right end.
        y_ticks: Likewise from the lower end of the axis to its upper end.
    """

    title: str
    marks: Sequence[Mark]
    x_label: str = ""
    y_label: str = ""
    x_ticks: Sequence[str] = ()
    y_ticks: Sequence[str] = ()


def line(points: Floats, name: str) -> Mark:
    """A line through points (2, P) within [0, 1]."""
    return Mark("line", name, f"M{_places(*points)}")


def area(x: Floats, y: Floats, name: str) -> Mark:
    """The area between points within [0, 1] and the x axis."""
    places = _places(np.concatenate([x[:1], x, x[-1:]]), np.concatenate([[0], y, [0]]))
    return Mark("area", name, f"M{places}z")


def dots(points: Floats, name: str) -> Mark:
    """Points (2, P) within [0, 1]."""
    return Mark("dots", name, "".join(f"M{place}h0" for place in _places(*points).split("L")))


def _places(x: Floats, y: Floats) -> str:
    """Places with one decimal, each once in a row, joined by `L`."""
    left, top = np.clip(x, 0, 1) * _SIDE, (1 - np.clip(y, 0, 1)) * _SIDE
    texts = [f"{a:.1f} {b:.1f}".replace(".0", "") for a, b in zip(left, top, strict=True)]
    return "L".join(
        text for text, before in zip(texts, ["", *texts], strict=False) if text != before
    )
