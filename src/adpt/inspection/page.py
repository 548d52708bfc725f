"""The page to browse inspected images: one self-contained HTML file, without scripts."""

import base64
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from adpt.inspection.inspector import Inspector
from adpt.inspection.rows import Row
from adpt.page.markup import Markup, document, tag

MOST = 500
"""Images on a page, those of the highest scores; about 10 MB."""

_WIDTH, _HEIGHT = 1000.0, 60.0

_FILTERS = (("all", "All"), ("anomalous", "Anomalous"), ("normal", "Normal"), ("unread", "Unread"))
_NOTE = (
    "Left the picture, right its scores, in one colour scale for all pictures: dark is normal, half"
    " way is the highest score of a pixel in good images that were left out. A line surrounds what"
    " exceeds that in an anomalous picture. A click opens the heatmap file."
)


class Card(NamedTuple):
    """An image on the page.

    Attributes:
        row: What the tables say of it.
        number: Its place among the results.
        thumbnail: A JPEG; None for an image that is not shown.
    """

    row: Row
    number: int
    thumbnail: bytes | None


def build_page(title: str, cards: Sequence[Card], inspector: Inspector) -> str:
    """The page, as HTML.

    Args:
        title: Its title.
        cards: All images, in the order of the results. Unread ones come first, the others by
            falling score.
        inspector: Where the scores come from.
    """
    shown = sorted(cards, key=lambda card: -_score(card.row))
    shown = [*(c for c in shown if c.row.error), *(c for c in shown if not c.row.error)][:MOST]
    counts = {kind: sum(_kind(card.row) == kind for card in cards) for kind, _ in _FILTERS[1:]}
    counts["all"] = len(cards)
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    parts = [
        tag("h1", title),
        tag("p", _verdict(counts), class_="verdict"),
        _strip(cards, inspector),
    ]
    parts += [tag("p", _made_with(inspector), class_="note"), tag("p", _NOTE, class_="note")]
    if len(shown) < len(cards):
        text = f"The {len(shown)} images of the highest scores; scores.csv has all {len(cards)}."
        parts.append(tag("p", text, class_="note"))
    parts += [*_controls(counts), tag("div", *map(_card, shown), class_="cards")]
    body = tag("main", *parts)
    return document(title, style, body)


def _verdict(counts: dict[str, int]) -> str:
    text = f"{counts['anomalous']} of {counts['all']} images are anomalous"
    return text + (f", {counts['unread']} could not be read" if counts["unread"] else "") + "."


def _made_with(inspector: Inspector) -> str:
    settings, scorer = inspector.settings, inspector.scorer
    return (
        f"{settings.method} on {scorer.kind} features of {scorer.backbone.name},"
        f" fitted on {settings.images} good images. Anomalous above {inspector.threshold:.5g}:"
        f" {inspector.threshold_origin}."
    )


def _controls(counts: dict[str, int]) -> list[Markup]:
    """Radio buttons, and their labels; the page's style does what they say."""
    present = [(kind, name) for kind, name in _FILTERS if kind == "all" or counts[kind]]
    groups = (
        ("show", [(f"show-{kind}", f"{name} ({counts[kind]})") for kind, name in present]),
        ("sort", [("sort-score", "By score"), ("sort-order", "As they came")]),
    )
    inputs, labels = [], []
    for group, choices in groups:
        for number, (key, text) in enumerate(choices):
            state = "" if number else " checked"
            inputs.append(Markup(f'<input type="radio" name="{group}" id="{key}"{state}>'))
            labels.append(tag("label", text, for_=key, class_=group))
    return [*inputs, tag("div", *labels, class_="controls")]


def _card(card: Card) -> Markup:
    row = card.row
    caption = [tag("b", PurePath(row.path).name), tag("span", row.path, class_="path")]
    if row.score is None:
        picture = tag("div", row.error, class_="empty")
    else:
        picture = tag("div", "no heatmap", class_="empty")
        share = row.score / row.threshold if row.threshold > 0 else 0.0
        width = f"width:{min(100.0, 50 * share):.1f}%"
        caption.append(tag("span", tag("i", style=width), class_="bar"))
        times = f", {share:.2f} × the threshold" if row.threshold > 0 else ""
        caption.append(tag("span", f"{row.score:.5g}{times}", class_="score"))
    if card.thumbnail is not None:
        data = base64.b64encode(card.thumbnail).decode()
        source = f"data:image/jpeg;base64,{data}"
        image = tag("img", src=source, alt=f"{row.path} and its scores", loading="lazy")
        picture = Markup(image.removesuffix("</img>"))
    if row.heatmap:
        picture = tag("a", picture, href=row.heatmap)
    return tag(
        "figure",
        picture,
        tag("figcaption", *caption),
        class_=_kind(row),
        style=f"--place:{card.number}",
    )


def _strip(cards: Sequence[Card], inspector: Inspector) -> Markup:
    """Every score as a line on an axis, and the threshold among them."""
    scored = [card.row for card in cards if card.row.score is not None]
    if not scored:
        return Markup()
    threshold = inspector.threshold
    values = [_score(row) for row in scored]
    low, high = min([*values, threshold]), max([*values, threshold])
    span = high - low or 1.0
    marks = []
    for row in scored:
        x = f"{(_score(row) - low) / span * _WIDTH:.1f}"
        ends = {"x1": x, "x2": x, "y1": "22", "y2": f"{_HEIGHT - 8:g}"}
        marks.append(tag("line", tag("title", row.path), class_=_kind(row), **ends))
    place = (threshold - low) / span * _WIDTH
    x = f"{place:.1f}"
    marks.append(tag("line", class_="threshold", x1=x, x2=x, y1="16", y2=f"{_HEIGHT:g}"))
    side = "end" if place > _WIDTH / 2 else "start"
    marks.append(tag("text", f"threshold {threshold:.5g}", x=x, y="11", text_anchor=side))
    for value, place, side in ((low, 0.0, "start"), (high, _WIDTH, "end")):
        marks.append(
            tag("text", f"{value:.5g}", x=f"{place:g}", y=f"{_HEIGHT + 8:g}", text_anchor=side)
        )
    view = f"-4 0 {_WIDTH + 8:g} {_HEIGHT + 12:g}"
    return tag("svg", *marks, viewBox=view, role="img", aria_label="Scores and the threshold")


def _score(row: Row) -> float:
    return 0.0 if row.score is None else row.score


def _kind(row: Row) -> str:
    if row.error:
        return "unread"
    return "anomalous" if row.anomalous else "normal"
