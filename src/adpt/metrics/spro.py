"""sPRO: overlap with defects of which a part is enough to be found."""

from collections.abc import Mapping
from statistics import fmean
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from adpt.metrics.arrays import Bools, Floats, Masks
from adpt.metrics.base import Metric
from adpt.metrics.exact import area_below_overlap, name_of_limit
from adpt.metrics.ranking import Counts, Float64s, Ranking
from adpt.metrics.scored import Scored

_T = TypeVar("_T", np.int64, np.float64)


class SPRO(Metric):
    """Area under the saturated per-region overlap curve (Bergmann et al. 2022, MVTec LOCO), exact.

    A defect's overlap at a threshold is the number of its pixels that reach it over the number that
    is enough, at most 1. The curve is the mean over defects, over the rate of pixels beside all
    defects that reach the threshold; it has a point for each distinct score and straight lines
    between, and its area is divided by the limit. Where a set does not say what is enough, defects
    are 8-connected regions and all of their pixels are: then this is AUPRO.

    Args:
        limit: The false positive rate up to which the area counts, above 0 and at most 1.
        kinds: Name to a kind of defect as the set calls it: each is measured on its own images and
            the normal ones, and then their mean is taken. None measures all images together.

    Raises:
        ValueError: The limit is out of its range.
    """

    def __init__(self, limit: float = 0.05, kinds: Mapping[str, str] | None = None) -> None:
        self.limit, self.kinds = limit, dict(kinds or {})
        name = f"pixel_spro_{name_of_limit(limit)}"
        self.names = (*(f"{name}_{kind}" for kind in self.kinds), name)

    def measure(self, scored: Scored) -> Mapping[str, float]:
        """The areas; nan without a marked defect of the kind, or without a pixel beside defects."""
        if scored.masks is None or (self.kinds and not scored.samples):
            return dict.fromkeys(self.names, float("nan"))
        groups = [np.ones(len(scored), bool)]
        if self.kinds:
            defects = np.array([sample.defect for sample in scored.samples])
            groups = [~scored.labels | (defects == kind) for kind in self.kinds.values()]
        areas = self._areas(scored, scored.masks, np.stack(groups))
        return dict(zip(self.names, [*areas, fmean(areas)] if self.kinds else areas, strict=True))

    def _areas(self, scored: Scored, masks: Masks, groups: Bools) -> list[float]:
        """The area of each of G groups of images, (G, N)."""
        images = np.flatnonzero(groups.any(0))
        found = _found(scored, images)
        size = len(found.thresholds) + 1
        reached, exceeded = np.zeros((2, len(groups), size), np.int64)
        for number in images.tolist():
            beside = np.sort(scored.maps[number][~masks[number]])
            places = np.searchsorted(found.thresholds, beside, "right")
            reached[groups[:, number]] += np.bincount(places, minlength=size)
            places = np.searchsorted(found.thresholds, beside, "left")
            exceeded[groups[:, number]] += np.bincount(places, minlength=size)
        return [
            self._area(found, members, at, above)
            for members, at, above in zip(groups, reached, exceeded, strict=True)
        ]

    def _area(self, found: "_Found", members: Bools, reached: Counts, exceeded: Counts) -> float:
        """The area of some of the images; the counts are of the pixels beside their defects."""
        own = members[found.owners]
        defects, negatives = int(found.defects[members].sum()), int(reached.sum())
        if not defects or not negatives:
            return float("nan")
        size = len(found.thresholds)
        each, share = (np.bincount(found.places, w, size) for w in (own, own * found.shares))
        ranking = Ranking(
            thresholds=found.thresholds,
            true_positives=_from_here_up(each.astype(np.int64)),
            false_positives=_from_here_up(reached[1:]),
            false_positives_above=_from_here_up(exceeded[1:]),
            overlap=_from_here_up(share) / defects,
            positives=int(own.sum()),
            negatives=negatives,
        )
        return area_below_overlap(ranking, self.limit)


class _Found(NamedTuple):
    """The pixels of defects that count: of each defect those found first, as many as are enough.

    Attributes:
        thresholds: (K,) their distinct scores, ascending.
        places: (P,) which of these is each one's.
        shares: (P,) what each adds to its defect's overlap.
        owners: (P,) their images.
        defects: (N,) how many defects each image has.
    """

    thresholds: Floats
    places: Counts
    shares: Float64s
    owners: Counts
    defects: Counts


def _found(scored: Scored, images: Counts) -> _Found:
    defects = np.zeros(len(scored), np.int64)
    scores, shares, owners = [np.empty(0, np.float32)], [np.empty(0)], [np.empty(0, np.int64)]
    for number in images[scored.labels[images]].tolist():
        flat, regions = scored.maps[number].reshape(-1), scored.regions(number)
        defects[number] = len(regions)
        for region in regions:
            pixels = flat[region.pixels]
            place = len(pixels) - min(region.enough, len(pixels))
            scores.append(np.partition(pixels, place)[place:])
            count = len(scores[-1])
            shares.append(np.full(count, 1 / count))
            owners.append(np.full(count, number))
    thresholds, places = np.unique(np.concatenate(scores), return_inverse=True)
    return _Found(thresholds, places, np.concatenate(shares), np.concatenate(owners), defects)


def _from_here_up(values: npt.NDArray[_T]) -> npt.NDArray[_T]:
    summed: npt.NDArray[_T] = np.cumsum(values[::-1])[::-1]
    return summed
