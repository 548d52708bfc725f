"""Images, inspected: from scores to verdicts, maps and defect regions."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from adpt.data.transforms import Geometry
from adpt.inspection.inputs import Read, UnreadImage
from adpt.inspection.model_file import Model
from adpt.inspection.regions import Region, RegionRule
from adpt.windows import Size

Map = npt.NDArray[np.float32]

_NO_NUMBER = "its scores are no finite numbers; the inspector's file or its backbone is damaged"


@dataclass(frozen=True, eq=False)
class LaidBack:
    """A score map, and the picture that it is to be laid over.

    Attributes:
        geometry: How the picture came to the model's size.
        score_map: (H, W) of that size.
        size: Height and width of the picture.
    """

    geometry: Geometry
    score_map: Tensor
    size: Size

    def at(self, size: Size, unseen: float = float("nan"), rows: slice = slice(None)) -> Map:
        """The map over a copy of the picture, of another size or its own; see `map_at`."""
        return self.geometry.lay_back(self.score_map, self.size, unseen, size, rows).numpy()


class _LaidWhenAsked:
    """The attribute `map`: as it was given, or laid over the picture when it is first asked for."""

    def __get__(self, instance: object | None, owner: type) -> Map:
        if instance is None:
            raise AttributeError("map")  # A dataclass learns by it that there is no default.
        kept = vars(instance)
        if "map" not in kept:
            kept["map"] = kept["laid"].at(kept["laid"].size)
        found: Map = kept["map"]
        return found

    def __set__(self, instance: object, value: Map | LaidBack) -> None:
        vars(instance)["laid" if isinstance(value, LaidBack) else "map"] = value


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
        picture: A copy of the picture, where `predict_many` was to keep one.
    """

    path: str | None
    score: float
    anomalous: bool
    threshold: float
    map: _LaidWhenAsked = _LaidWhenAsked()
    regions: tuple[Region, ...] = ()
    normalised: float | None = None
    picture: Image.Image | None = field(default=None, repr=False)

    def map_at(self, size: Size, unseen: float = float("nan"), rows: slice = slice(None)) -> Map:
        """The map over a copy of the picture that is of another height and width.

        Args:
            size: Height and width of the copy.
            unseen: Value where a centre crop left it unseen.
            rows: Those of the copy that are wanted.
        """
        laid = vars(self).get("laid")
        if laid is not None:
            return np.asarray(laid.at(size, unseen, rows))
        resized = Image.fromarray(self.map).resize(size[::-1], Image.Resampling.BILINEAR)
        found: Map = np.nan_to_num(np.asarray(resized)[rows], nan=unseen)
        return found

    @property
    def size(self) -> Size:
        """Height and width of the picture, as `map` has them."""
        laid = vars(self).get("laid")
        height, width = self.map.shape if laid is None else laid.size
        return height, width


def inspections(
    model: Model, geometry: Geometry, images: Sequence[Read], rule: RegionRule
) -> Iterator[Inspection | UnreadImage]:
    """Inspect images that were read, all at once.

    Yields:
        An `Inspection` each, or an `UnreadImage` where the scores are no finite numbers.
    """
    if not images:
        return
    scores = model.scorer(torch.stack([image.pixels for image in images]))
    maps, values, threshold = scores.maps.cpu(), scores.image.tolist(), model.threshold.value
    for image, score_map, score in zip(images, maps, values, strict=True):
        if not (math.isfinite(score) and bool(score_map.isfinite().all())):
            # NaN is above no threshold: it must not pass for normal.
            yield UnreadImage(image.path or "a picture in memory", _NO_NUMBER)
            continue
        laid = LaidBack(geometry, score_map.clone(), image.original)
        regions: tuple[Region, ...] = ()
        if anomalous := score > threshold:
            place = geometry.place(image.original)
            regions = rule.find(score_map.numpy(), model.settings.normal_map[0], *place)
        share = model.normalised(score)
        yield Inspection(image.path, score, anomalous, threshold, laid, regions, share, image.copy)
