"""An image, inspected."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from adpt.data.transforms import Geometry, Size
from adpt.inspection.regions import Region

Map = npt.NDArray[np.float32]


class MapOnceAsked:
    """An attribute that is a map, or makes it when it is first asked for and then keeps it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object | None, owner: type) -> Map:
        if instance is None:
            raise AttributeError(self._name)  # A dataclass learns by it that there is no default.
        value = vars(instance)[self._name]
        if callable(value):
            value = vars(instance)[self._name] = value()
        found: Map = value
        return found

    def __set__(self, instance: object, value: Map | Callable[[], Map]) -> None:
        vars(instance)[self._name] = value


@dataclass(frozen=True, eq=False)
class Inspection:
    """One image, inspected.

    Attributes:
        path: The image's file; None for a picture in memory.
        score: How anomalous the image is; the range is the method's own.
        anomalous: True if the score is above the threshold.
        threshold: The threshold.
        map: (H, W) float32 scores of the pixels of the picture as it was given; nan where a centre
            crop (`resize`) left it unseen. Laid over the picture when it is first asked for.
        regions: Where an anomalous image is so, the highest peak first; none of a normal one.
        normalised: Estimated share of good images that score higher, 0 to 1, of one meaning for all
            methods and products; None from an inspector of before there was one.
    """

    path: str | None
    score: float
    anomalous: bool
    threshold: float
    map: MapOnceAsked = MapOnceAsked()
    regions: tuple[Region, ...] = ()
    normalised: float | None = None


def laid_back(geometry: Geometry, score_map: Tensor, original: Size) -> Map:
    """A score map in the picture's own pixels; see `Geometry.lay_back`."""
    return geometry.lay_back(score_map, original).numpy()
