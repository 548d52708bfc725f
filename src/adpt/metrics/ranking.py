"""How anomalous scores lie among normal ones: all that metrics and curves are made of.

The two are sorted apart, once, and counted at each distinct anomalous score; nothing looks at a
pixel again.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from adpt.metrics.arrays import (
    Array,
    Bools,
    Floats,
    Maps,
    Masks,
    check_per_image,
    finite_scores,
    labels_of,
    maps_and_masks,
)

Float64s = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

# Neighbours within an image count, corners included (8-connected); those in another image don't.
_NEIGHBOURS = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])


class Ranking(NamedTuple):
    """How P anomalous scores, K of them distinct, lie among Q normal ones; ascending throughout.

    Attributes:
        thresholds: (K,), the distinct anomalous scores.
        true_positives: (K,), anomalous scores that reach this one.
        false_positives: (K,), normal scores that reach it.
        false_positives_above: (K,), normal scores that exceed it.
        overlap: (K,), mean per-region overlap of the anomalous scores from here up; (0,) of images.
        positives: P.
        negatives: Q.
        normal: (Q,), the normal scores; None where they were counted and not kept.
    """

    thresholds: Floats
    true_positives: Counts
    false_positives: Counts
    false_positives_above: Counts
    overlap: Float64s
    positives: int
    negatives: int
    normal: Floats | None = None

    @property
    def defined(self) -> bool:
        """True if there are scores of both kinds."""
        return self.positives > 0 and self.negatives > 0

    @property
    def group_sizes(self) -> Counts:
        """(K,), anomalous scores that equal this one."""
        return -np.diff(self.true_positives, append=0)


class Rankings(NamedTuple):
    """Of scored images, and of their pixels; of no pixel where there are no masks."""

    image: Ranking
    pixel: Ranking


def rank_maps(
    maps: Array,
    masks: Array | None,
    image_scores: Array | None = None,
    *,
    labels: Array | None = None,
) -> Rankings:
    """Rank images and pixels; arguments and errors as of `anomaly_metrics`."""
    if masks is None and labels is None:
        raise ValueError("without masks, labels must tell which images are anomalous.")
    pixels, anomalous = maps_and_masks(
        maps, np.zeros(tuple(maps.shape), bool) if masks is None else masks
    )
    if image_scores is None:
        images = pixels.max(axis=(1, 2))
    else:
        images = finite_scores(image_scores, "image_scores")
    image_labels = anomalous.max(axis=(1, 2)) if labels is None else labels_of(labels)
    check_per_image(len(pixels), images, "image_scores")
    check_per_image(len(pixels), image_labels, "labels")
    if masks is None:
        pixels, anomalous = pixels[:0], anomalous[:0]
    return Rankings(rank(images, image_labels), rank_pixels(pixels, anomalous))


def rank_pixels(maps: Floats, anomalous: Bools) -> Ranking:
    """Rank the pixels of maps, with the overlap of their regions."""
    return rank(maps, anomalous, overlap_shares(anomalous))


def rank(scores: Floats, labels: Bools, shares: Float64s | None = None) -> Ranking:
    """Rank scores; `shares` is what each anomalous one adds to the mean per-region overlap."""
    # Sorting values is several times faster than sorting indices, which only the few anomalous
    # scores need, and they only for the regions that they belong to.
    normal = scores[~labels]
    normal.sort()
    thresholds, true_positives, overlap = _grouped(scores[labels], shares)
    return Ranking(
        thresholds=thresholds,
        true_positives=true_positives,
        false_positives=len(normal) - np.searchsorted(normal, thresholds, side="left"),
        false_positives_above=len(normal) - np.searchsorted(normal, thresholds, side="right"),
        overlap=overlap,
        positives=int(np.count_nonzero(labels)),
        negatives=len(normal),
        normal=normal,
    )


def rank_each(maps: Maps, masks: Masks) -> Ranking:
    """The pixels of maps of any sizes, ranked as `rank_pixels` does, but one map at a time.

    Beside one map this takes memory for the anomalous pixels alone, about 80 bytes each; both
    sequences are gone through twice, and normal scores are counted, not kept.
    """
    anomalous, shares = [np.empty(0, np.float32)], [np.empty(0)]
    for scores, marked in zip(maps, masks, strict=True):
        anomalous.append(scores[marked])
        shares.append(overlap_shares(marked[None]))
    together = np.concatenate(anomalous)
    thresholds, true_positives, overlap = _grouped(together, np.concatenate(shares))
    reached, exceeded = np.zeros((2, len(thresholds) + 1), np.int64)
    for scores, marked in zip(maps, masks, strict=True):
        normal = scores[~marked]
        normal.sort()
        size = len(reached)
        reached += np.bincount(np.searchsorted(thresholds, normal, "right"), minlength=size)
        exceeded += np.bincount(np.searchsorted(thresholds, normal, "left"), minlength=size)
    return Ranking(
        thresholds=thresholds,
        true_positives=true_positives,
        false_positives=np.cumsum(reached[:0:-1])[::-1],
        false_positives_above=np.cumsum(exceeded[:0:-1])[::-1],
        overlap=overlap,
        positives=len(together),
        negatives=int(reached.sum()),
    )


def _grouped(anomalous: Floats, shares: Float64s | None) -> tuple[Floats, Counts, Float64s]:
    """Distinct anomalous scores, how many reach each, and the overlap from each up."""
    if shares is None:
        anomalous = np.sort(anomalous)
        overlap: Float64s = np.empty(0)
    else:
        order = np.argsort(anomalous)
        anomalous = anomalous[order]
        overlap = np.cumsum(shares[order][::-1])[::-1]
        overlap /= overlap[:1]  # the sum is the number of regions, but for rounding
    starts = np.ones(len(anomalous), dtype=bool)
    np.not_equal(anomalous[1:], anomalous[:-1], out=starts[1:])
    first = np.flatnonzero(starts)
    return anomalous[first], len(anomalous) - first, overlap if shares is None else overlap[first]


def overlap_shares(anomalous: Bools) -> Float64s:
    """Share that each anomalous pixel adds to the overlap with its region: 1 / area."""
    with_regions = anomalous[anomalous.any(axis=(1, 2))]
    if len(with_regions) == 0:
        return np.empty(0)
    regions, _ = ndimage.label(with_regions, structure=_NEIGHBOURS)
    region = regions[with_regions]
    result: Float64s = 1.0 / np.bincount(region)[region]
    return result
