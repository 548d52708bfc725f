"""A line of the tables that an inspection writes."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from adpt.inspection.inspection import Inspection
from adpt.inspection.regions import Region

COLUMNS = (
    "path", "score", "normalised", "anomalous", "threshold", "error", "heatmap", "regions",
    "largest", "largest_mm2", "product", "drift",
)  # fmt: skip
"""Of the table."""


@dataclass(frozen=True, slots=True)
class Row:
    """An image in the tables.

    Attributes:
        path: The image.
        score: None for one that could not be read.
        normalised: Estimated share of good images that score higher; None where it is not known.
        anomalous: True if the score is above the threshold; None for one that could not be read.
        threshold: The threshold; None for an image of no product.
        error: Why the image could not be read; "" for one that was.
        heatmap: Its heatmap, from the table's folder; "" where there is none.
        regions: Where an anomalous image is so.
        product: Whose inspector scored it; "" where there is but one.
        drift: How far the scores of the last images taken for good lie above (or below) those at
            the fit, in standard errors; None for as long as they are too few.
    """

    path: str
    score: float | None
    normalised: float | None
    anomalous: bool | None
    threshold: float | None
    error: str = ""
    heatmap: str = ""
    regions: tuple[Region, ...] = ()
    product: str = ""
    drift: float | None = None

    @classmethod
    def of(cls, found: Inspection, path: str, **further: Any) -> Self:
        """The row of an image that was inspected; `further` are attributes by name."""
        told = (found.score, found.normalised, found.anomalous, found.threshold)
        return cls(path, *told, regions=found.regions, **further)

    @classmethod
    def unread(cls, path: str, error: str, threshold: float | None, product: str) -> Self:
        """The row of an image that could not be read."""
        return cls(path, None, None, None, threshold, error, product=product)

    @property
    def largest(self) -> Region | None:
        """The region of the largest area."""
        return max(self.regions, key=lambda region: region.area, default=None)

    @property
    def sizes(self) -> str:
        """How many regions there are, and how large; "" for none."""
        if (largest := self.largest) is None:
            return ""
        in_mm = largest.area_mm2 is not None
        area = f"{largest.area_mm2:.3g} mm²" if in_mm else f"{largest.area:,.0f} px"
        count = len(self.regions)
        return f"{count} regions, the largest {area}" if count > 1 else f"1 region, {area}"

    def as_dict(self) -> dict[str, Any]:
        """All of it by name, for a line of JSON."""
        return asdict(self)

    def cells(self) -> dict[str, Any]:
        """The table's columns by name: of the regions their number, and the largest area."""
        largest = self.largest
        return self.as_dict() | {
            "regions": None if self.error else len(self.regions),
            "largest": largest and largest.area,
            "largest_mm2": largest and largest.area_mm2,
        }
