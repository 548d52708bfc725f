"""An image, inspected."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adpt.inspection.regions import Region


@dataclass(frozen=True, eq=False)
class Inspection:
    """One image, inspected.

    Attributes:
        path: The image's file; None for a picture in memory.
        score: How anomalous the image is; the range is the method's own.
        anomalous: True if the score is above the threshold.
        threshold: The threshold.
        map: (H, W) float32 scores of the pixels of the picture as it was given; nan where a centre
            crop (`resize`) left it unseen.
        regions: Where an anomalous image is so, the highest peak first; none of a normal one.
        normalised: Estimated share of good images that score higher, 0 to 1, of one meaning for all
            methods and products; None from an inspector of before there was one.
    """

    path: str | None
    score: float
    anomalous: bool
    threshold: float
    map: npt.NDArray[np.float32]
    regions: tuple[Region, ...] = ()
    normalised: float | None = None
