"""Defect regions: the parts of a picture whose scores stand out, each with its place and size."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from adpt.errors import UserError

Point = tuple[float, float]


@dataclass(frozen=True)
class Region:
    """A connected part of a picture whose scores stand out.

    Lengths are in pixels of the picture as it was given, from its top left corner.

    Attributes:
        box: Left, top, right and bottom.
        outline: Corners (x, y) of the polygon around it, clockwise; holes have none.
        area: In square pixels, without holes.
        peak: Its highest score.
        mean: Its mean score.
        area_mm2: In square millimetres; None where `mm_per_pixel` is not given.
    """

    box: tuple[float, float, float, float]
    outline: tuple[Point, ...]
    area: float
    peak: float
    mean: float
    area_mm2: float | None = None


@dataclass(frozen=True, kw_only=True)
class RegionRule:
    """Which pixels of an anomalous picture belong to regions, and which regions count.

    Both defaults are measured: `experiments/regions`.

    Attributes:
        of_peak: A pixel belongs to a region if its score is above this share, at least 0 and below
            1, of the way from the median score of a pixel in good images to the picture's highest.
        smallest: Share of what was scored of the picture that a region has at least, below 1; that
            of the highest score stays, however small it is.
        mm_per_pixel: Side of a pixel of the pictures, in millimetres; None leaves `area_mm2` out.

    Raises:
        UserError: One of them is out of its range.
    """

    of_peak: float = 0.5
    smallest: float = 0.005
    mm_per_pixel: float | None = None

    def __post_init__(self) -> None:
        for name in ("of_peak", "smallest"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise UserError(f"regions.{name}={value} must be at least 0 and below 1.")
        if self.mm_per_pixel is not None and not 0 < self.mm_per_pixel < np.inf:
            raise UserError(f"mm_per_pixel={self.mm_per_pixel} must be above 0, such as 0.05.")

    def labels(self, score_map: npt.NDArray[np.float32], median: float) -> npt.NDArray[np.int32]:
        """The regions of a score map.

        Args:
            score_map: (H, W), finite.
            median: Of the scores of pixels in good images that were left out.

        Returns:
            (H, W): the number of each pixel's region, from 1 on; 0 outside.
        """
        peak = float(score_map.max())
        level = median + self.of_peak * (peak - median)
        # The peak itself stays where it is no higher than the median: the picture is anomalous.
        inside = (score_map > level) | (score_map == peak)
        numbers, count = ndimage.label(inside, _TOUCH)
        sizes = np.bincount(numbers.ravel(), minlength=count + 1)
        kept = sizes >= self.smallest * score_map.size
        kept[numbers.flat[score_map.argmax()]] = True
        kept[0] = False
        found: npt.NDArray[np.int32] = np.where(kept, np.cumsum(kept), 0)[numbers].astype(np.int32)
        return found

    def find(
        self,
        score_map: npt.NDArray[np.float32],
        median: float,
        scale: Point,
        corner: Point = (0.0, 0.0),
    ) -> tuple[Region, ...]:
        """The regions of an anomalous picture, the highest peak first.

        Args:
            score_map: (H, W), finite, at the size that was scored.
            median: Of the scores of pixels in good images that were left out.
            scale: Width and height of a pixel of the map, in the picture's pixels.
            corner: The map's top left corner (x, y), in the picture's pixels.
        """
        numbers = self.labels(score_map, median)
        found = []
        for number, (rows, columns) in enumerate(ndimage.find_objects(numbers), start=1):
            inside = numbers[rows, columns] == number
            scores = score_map[rows, columns][inside]
            outline = tuple(
                (
                    round(corner[0] + (columns.start + x) * scale[0], 2),
                    round(corner[1] + (rows.start + y) * scale[1], 2),
                )
                for x, y in trace(inside)
            )
            across, down = zip(*outline, strict=True)
            area = float(inside.sum()) * scale[0] * scale[1]
            side = self.mm_per_pixel
            found.append(
                Region(
                    (min(across), min(down), max(across), max(down)),
                    outline,
                    round(area, 2),
                    float(scores.max()),
                    float(scores.mean(dtype=np.float64)),
                    None if side is None else area * side * side,
                )
            )
        return tuple(sorted(found, key=lambda region: -region.peak))


_TOUCH = np.ones((3, 3), dtype=bool)
"""Pixels that touch at a corner are of one region."""


def trace(inside: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The corners (x, y) of the outer boundary of a region, clockwise, along the pixels' sides.

    Args:
        inside: (H, W), true for its pixels, all of which touch, at corners at least.
    """
    cells = np.pad(inside, 1).tolist()
    y, x = (int(place[0]) + 1 for place in np.nonzero(inside))
    start, across, down = (x, y), 1, 0
    corners: list[tuple[int, int]] = []
    while not corners or (x, y) != start or (across, down) != (1, 0):
        x, y = x + across, y + down
        # Of the two pixels ahead, the region's lie to the right.
        left = cells[y + (down - across - 1) // 2][x + (across + down - 1) // 2]
        right = cells[y + (down + across - 1) // 2][x + (across - down - 1) // 2]
        if left:
            across, down = down, -across
        elif not right:
            across, down = -down, across
        if left or not right:
            corners.append((x - 1, y - 1))
    return corners
