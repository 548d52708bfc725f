"""The page to browse inspected images: one self-contained HTML file."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from adpt.inspection.grounds import Grounds
from adpt.inspection.inspector import Inspector
from adpt.inspection.rows import Row
from adpt.page.render import render, script_of

MOST = 500
"""Images on a page, those of the highest scores; about 10 MB."""

_WIDTH = 1000.0


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

    @property
    def name(self) -> str:
        """The file's name."""
        return PurePath(self.row.path).name

    @property
    def kind(self) -> str:
        """`unread`, `anomalous` or `normal`."""
        if self.row.error:
            return "unread"
        return "anomalous" if self.row.anomalous else "normal"

    @property
    def score(self) -> float:
        """The score, 0 for an image that could not be read."""
        return 0.0 if self.row.score is None else self.row.score

    @property
    def share(self) -> float:
        """The score by the threshold; 0 where that is not above 0."""
        threshold = self.row.threshold or 0.0
        return self.score / threshold if threshold > 0 else 0.0

    @property
    def rank(self) -> float:
        """The key that images of several products are ordered by."""
        return ranked(self.score, self.row.threshold)

    @property
    def picture(self) -> str:
        """The thumbnail in Base64, "" for none."""
        return base64.b64encode(self.thumbnail or b"").decode()


def ranked(score: float, threshold: float | None) -> float:
    """A score in units of its threshold, for scores of products differ in size."""
    return score / threshold if threshold is not None and threshold > 0 else score


def build_inspection_page(
    title: str,
    cards: Sequence[Card],
    inspectors: Inspector | Mapping[str, Inspector],
    remarks: Sequence[str] = (),
    good_page: bool = False,
) -> str:
    """The page, as HTML.

    Args:
        title: Its title.
        cards: All images, in the order of the results. Unread ones come first, the others by
            falling score, those of each product together.
        inspectors: Where the scores come from; of several, by product.
        remarks: Sentences about the images.
        good_page: True if `good.html` lies beside the page.
    """
    if isinstance(inspectors, Inspector):
        inspectors = {"": inspectors}
    shown = sorted(cards, key=lambda card: (not card.row.error, -card.rank))[:MOST]
    groups = [
        _group(name, _of(name, cards), _of(name, shown), inspectors.get(name))
        for name in sorted({card.row.product for card in cards}) or [""]
    ]
    script, script_hash = script_of("inspection.js")
    return render(
        "inspection.html.j2",
        title=title,
        groups=groups,
        shown=len(shown),
        counts=_counts(cards),
        script=script,
        script_hash=script_hash,
        remarks=remarks,
        good_page=good_page,
    )


def _of(product: str, cards: Sequence[Card]) -> list[Card]:
    return [card for card in cards if card.row.product == product]


def _counts(cards: Sequence[Card]) -> dict[str, int]:
    counts = dict.fromkeys(("anomalous", "normal", "unread"), 0)
    return counts | Counter(card.kind for card in cards) | {"all": len(cards)}


def _group(
    product: str, cards: Sequence[Card], shown: Sequence[Card], inspector: Inspector | None
) -> dict[str, Any]:
    """One product on the page; without an inspector these are images of none."""
    found: dict[str, Any] = {
        "product": product or "Of no product",
        "cards": shown,
        "counts": _counts(cards),
        "made_with": "",
        "strip": None,
        "known": None,
    }
    if inspector is None:
        return found
    settings, scorer, grounds = inspector.settings, inspector.scorer, inspector.grounds
    made_with = (
        f"{settings.method} on {scorer.kind} features of {scorer.backbone.name},"
        f" fitted on {settings.images} good images. Anomalous above {inspector.threshold:.5g}:"
        f" {inspector.threshold_origin}."
    )
    strip = _strip(cards, inspector.threshold, grounds)
    return found | {"made_with": made_with, "strip": strip, "known": grounds}


def _strip(
    cards: Sequence[Card], threshold: float, grounds: Grounds | None
) -> dict[str, Any] | None:
    """Places of all scores, of known defects', and of the threshold, on an axis; None for none."""
    scored = [card for card in cards if card.row.score is not None]
    if not scored:
        return None
    defects = grounds.defects if grounds is not None else ()
    good = grounds.good if grounds is not None else ()
    values = [*(card.score for card in scored), *defects, *(good if defects else ()), threshold]
    low, high = min(values), max(values)
    span = high - low or 1.0

    def place(value: float) -> str:
        return f"{(value - low) / span * _WIDTH:.1f}"

    # One at a time, for there may be a hundred thousand.
    marks = (
        {"kind": c.kind, "score": c.score, "x": place(c.score), "path": c.row.path} for c in scored
    )
    alarms, missed = (
        sum(score > threshold for score in good), sum(score <= threshold for score in defects)
    )  # fmt: skip
    return {
        "marks": marks,
        "defects": list(map(place, defects)),
        "alarms": alarms,
        "missed": missed,
        "least": low,
        "most": high,
        "at": threshold,
        "x": place(threshold),
        "threshold": f"{threshold:.5g}",
        "low": f"{low:.5g}",
        "high": f"{high:.5g}",
    }
