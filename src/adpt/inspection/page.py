"""The page to browse inspected images: one self-contained HTML file."""

import base64
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

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
        return self.score / self.row.threshold if self.row.threshold > 0 else 0.0

    @property
    def picture(self) -> str:
        """The thumbnail in Base64, "" for none."""
        return base64.b64encode(self.thumbnail or b"").decode()


def build_page(
    title: str,
    cards: Sequence[Card],
    inspector: Inspector,
    remarks: Sequence[str] = (),
    good_page: bool = False,
) -> str:
    """The page, as HTML.

    Args:
        title: Its title.
        cards: All images, in the order of the results. Unread ones come first, the others by
            falling score.
        inspector: Where the scores come from.
        remarks: Sentences about the images.
        good_page: True if `good.html` lies beside the page.
    """
    settings, scorer = inspector.settings, inspector.scorer
    counts = dict.fromkeys(("anomalous", "normal", "unread"), 0)
    counts |= Counter(card.kind for card in cards)
    script, script_hash = script_of("inspection.js")
    return render(
        "inspection.html.j2",
        title=title,
        cards=sorted(cards, key=lambda card: (not card.row.error, -card.score))[:MOST],
        counts=counts | {"all": len(cards)},
        script=script,
        script_hash=script_hash,
        remarks=remarks,
        good_page=good_page,
        strip=_strip(cards, inspector.threshold),
        made_with=f"{settings.method} on {scorer.kind} features of {scorer.backbone.name},"
        f" fitted on {settings.images} good images. Anomalous above {inspector.threshold:.5g}:"
        f" {inspector.threshold_origin}.",
    )


def _strip(cards: Sequence[Card], threshold: float) -> dict[str, Any] | None:
    """Places of all scores, and of the threshold, on an axis; None without scores."""
    scored = [card for card in cards if card.row.score is not None]
    if not scored:
        return None
    values = [card.score for card in scored]
    low, high = min([*values, threshold]), max([*values, threshold])
    span = high - low or 1.0

    def place(value: float) -> str:
        return f"{(value - low) / span * _WIDTH:.1f}"

    marks = [
        {"kind": c.kind, "score": c.score, "x": place(c.score), "path": c.row.path} for c in scored
    ]
    return {
        "marks": marks,
        "least": low,
        "most": high,
        "at": threshold,
        "x": place(threshold),
        "threshold": f"{threshold:.5g}",
        "low": f"{low:.5g}",
        "high": f"{high:.5g}",
    }
