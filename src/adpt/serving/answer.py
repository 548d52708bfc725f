"""From a picture's file to an answer: the row that `adpt.predict` would write, and a heatmap."""

from pathlib import Path
from typing import NamedTuple

from adpt.inspection import Inspector, RegionRule, UnreadImage
from adpt.inspection.outputs import Format, encoded, heatmap_over, picture_under
from adpt.inspection.rows import Row
from adpt.running.names import printable


class Answer(NamedTuple):
    """The answer on a picture.

    Attributes:
        row: As in the tables of `adpt.predict`.
        heatmap: A picture file's content; empty where none is wanted, or there is none.
    """

    row: Row
    heatmap: bytes = b""

    @property
    def verdict(self) -> str:
        """normal, anomalous or unreadable."""
        if self.row.error:
            return "unreadable"
        return "anomalous" if self.row.anomalous else "normal"


def inspect(
    inspector: Inspector,
    path: Path,
    name: str,
    *,
    rule: RegionRule,
    product: str = "",
    heatmap: Format | None = None,
    longest_side: int | None = None,
) -> Answer:
    """Inspect a file.

    Args:
        inspector: Of its product.
        path: The file.
        name: What the client calls it; may be empty.
        rule: What a defect region is.
        product: As of `Row`.
        heatmap: Format of the heatmap; None for none.
        longest_side: Of the heatmap, in pixels; None for the picture's own.
    """
    side = 0 if heatmap is None else longest_side
    (found,) = inspector.predict_many([path], 1, rule, copy_side=side)
    if isinstance(found, UnreadImage):
        error = printable(found.error.replace(str(path), name or "the picture"))
        return Answer(Row.unread(name, error, inspector.threshold, product))
    row = Row.of(found, name, product=product)
    if heatmap is None:
        return Answer(row)
    picture = picture_under(found, inspector, longest_side)
    shown = heatmap_over(picture, found, inspector.settings.normal_map)
    return Answer(row, encoded(shown, heatmap))
