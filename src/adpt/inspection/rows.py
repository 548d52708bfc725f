"""A line of the tables that an inspection writes."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """An image in the tables.

    Attributes:
        path: The image.
        score: None for one that could not be read.
        normalised: Estimated share of good images that score higher; None where it is not known.
        anomalous: True if the score is above the threshold; None for one that could not be read.
        threshold: The threshold.
        error: Why the image could not be read; "" for one that was.
        heatmap: Its heatmap, from the table's folder; "" where there is none.
    """

    path: str
    score: float | None
    normalised: float | None
    anomalous: bool | None
    threshold: float
    error: str = ""
    heatmap: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The columns by name."""
        return asdict(self)
