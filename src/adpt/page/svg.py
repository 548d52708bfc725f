"""Small plots as inline SVG; their colours come from the page's style."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from adpt.page.markup import Markup, tag

Floats = npt.NDArray[np.floating]
Range = tuple[float, float]

_LEFT, _TOP, _SIDE = 34.0, 22.0, 160.0
_RIGHT, _BOTTOM = 10.0, 34.0
_BARE = 4.0
"""Margin where there are no axes to label."""


def plot(
    title: str,
    marks: Sequence[Markup],
    x_label: str = "",
    y_label: str = "",
    x_ticks: Sequence[str] = (),
    y_ticks: Sequence[str] = (),
) -> Markup:
    """A square plot.

    Args:
        title: Stands above, and is what a screen reader says.
        marks: What `line`, `area` and `dots` gave, drawn in this order.
        x_label: Stands below.
        y_label: Stands at the left.
        x_ticks: Texts spread evenly from the left end of the axis to its right end.
        y_ticks: Texts spread evenly from the lower end of the axis to its upper end.
    """
    middle = (_LEFT + _SIDE / 2, _TOP + _SIDE / 2)
    parts = [
        _text(title, middle[0], 13, "title"),
        _text(x_label, middle[0], _TOP + _SIDE + _BOTTOM - 4),
        _text(y_label, 9, middle[1], transform=f"rotate(-90 9 {middle[1]:g})"),
    ]
    for place, text in zip(np.linspace(0, 1, len(x_ticks)), x_ticks, strict=True):
        parts.append(_text(text, _LEFT + place * _SIDE, _TOP + _SIDE + 13, "tick"))
    for place, text in zip(np.linspace(1, 0, len(y_ticks)), y_ticks, strict=True):
        parts.append(_text(text, _LEFT - 4, _TOP + place * _SIDE + 4, "tick left"))
    frame = tag(
        "rect",
        class_="frame",
        x=f"{_LEFT:g}",
        y=f"{_TOP:g}",
        width=f"{_SIDE:g}",
        height=f"{_SIDE:g}",
    )
    bare = not (x_label or y_label or x_ticks or y_ticks)
    start, bottom = (_LEFT - _BARE, _BARE) if bare else (0, _BOTTOM)
    view = f"{start:g} 0 {_LEFT + _SIDE + _RIGHT - start:g} {_TOP + _SIDE + bottom:g}"
    return tag("svg", frame, *marks, *parts, viewBox=view, role="img", aria_label=title)


def line(points: Floats, name: str) -> Markup:
    """A line through points (2, P) within [0, 1], in the colour of a class of the style."""
    return tag("path", d=f"M{_places(*points)}", class_=f"line {name}")


def area(x: Floats, y: Floats, name: str) -> Markup:
    """The area between points within [0, 1] and the x axis."""
    places = _places(np.concatenate([x[:1], x, x[-1:]]), np.concatenate([[0], y, [0]]))
    return tag("path", d=f"M{places}z", class_=f"area {name}")


def dots(x: Floats, y: Floats, name: str) -> Markup:
    """Points within [0, 1]."""
    path = "".join(f"M{left}h0" for left in _places(x, y).split("L"))
    return tag("path", d=path, class_=f"dots {name}")


def _places(x: Floats, y: Floats) -> str:
    """Places with one decimal, each once in a row, joined by `L`."""
    left, top = _LEFT + np.clip(x, 0, 1) * _SIDE, _TOP + (1 - np.clip(y, 0, 1)) * _SIDE
    texts = [f"{a:.1f} {b:.1f}".replace(".0", "") for a, b in zip(left, top, strict=True)]
    return "L".join(
        text for text, before in zip(texts, ["", *texts], strict=False) if text != before
    )


def _text(text: str, x: float, y: float, name: str = "label", **attributes: str) -> Markup:
    if not text:
        return Markup()
    return tag("text", text, x=f"{x:g}", y=f"{y:g}", class_=name, **attributes)
