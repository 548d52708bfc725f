"""AUPIMO: recall of each anomalous image where normal images hardly show a false positive."""

from collections.abc import Mapping

import numpy as np

from adpt.metrics.arrays import Floats
from adpt.metrics.base import Metric
from adpt.metrics.ranking import Counts, Float64s
from adpt.metrics.scored import Scored

_THRESHOLDS = 2000
"""Normal scores that resamples look at, at most."""


class Aupimo(Metric):
    """Mean area under the per-image overlap curves (arXiv 2401.01984), exact.

    An image's curve is the share of its anomalous pixels that reach a threshold, over the logarithm
    of the shared false positive rate: the mean, over normal images, of the share of their pixels
    that reach it. It has a point before and at each distinct normal score and straight lines
    between, below its first rate it is level at the share that no normal score reaches, and its
    area between two rates is divided by that of a perfect one.

    Args:
        lower: Rate from which on the area counts.
        upper: Rate up to which it counts.

    Raises:
        ValueError: The two are not above 0, at most 1, and in this order.
    """

    names = ("pixel_aupimo",)

    def __init__(self, lower: float = 1e-5, upper: float = 1e-4) -> None:
        if not 0 < lower < upper <= 1:
            raise ValueError(
                f"lower is {lower} and upper {upper}: give rates above 0, at most 1, in this order."
            )
        self.lower, self.upper = lower, upper

    def measure(self, scored: Scored) -> Mapping[str, float]:
        """The mean over anomalous images with marked defects.

        It is nan without any, without normal images, and where these have so few pixels that a
        single one is a rate above `lower`.
        """
        return {"pixel_aupimo": float(self.resampled(scored, scored.each_once)["pixel_aupimo"][0])}

    def resampled(self, scored: Scored, weights: Counts) -> Mapping[str, Float64s]:
        """The mean of each resample, of normal images as of anomalous ones."""
        areas, chosen = self.of_images(scored, weights)
        how_often = weights[:, chosen]
        total = how_often.sum(1)
        mean = np.full(len(weights), np.nan)
        np.divide((areas * how_often).sum(1), total, out=mean, where=total > 0)
        return {"pixel_aupimo": mean}

    def of_images(self, scored: Scored, weights: Counts) -> tuple[Float64s, Counts]:
        """Areas (R, n) of anomalous images with marked defects in R resamples, and which they are.

        There are none where the metric is not defined.
        """
        anomalous: list[int] = []
        areas: list[Float64s] = []
        shared = self._shared_rates(scored, weights)
        if shared is not None and scored.masks is not None:
            thresholds, rates = shared
            quadrature = np.stack([_quadrature(row, self.lower, self.upper) for row in rates])
            for number in np.flatnonzero(scored.labels).tolist():
                if (mask := scored.masks[number]).any():
                    anomalous.append(number)
                    areas.append(quadrature @ _overlaps(scored.maps[number][mask], thresholds))
        found = np.stack(areas, 1) if areas else np.empty((len(weights), 0))
        return found, np.array(anomalous, np.int64)

    def _shared_rates(self, scored: Scored, weights: Counts) -> tuple[Floats, Float64s] | None:
        """V normal scores, descending, and (R, 2V) shared rates above each and reaching it.

        None without normal images, and where a pixel of them is a rate above `lower`.
        """
        normal = np.flatnonzero(~scored.labels).tolist()
        tops, pixels = [], []
        for number in normal:
            scores = scored.maps[number]
            pixels.append(scores.size)
            tops.append(_highest(scores, int(self.upper * len(normal) * scores.size) + 1))
        if not normal or 1 / (len(normal) * min(pixels)) > self.lower:
            return None
        # At the highest of these the rate is above `upper`, and no higher score is missing.
        lowest = np.array([top.min() for top in tops])
        how_often = weights[:, normal]
        cut = np.where(how_often > 0, lowest, -np.inf).max(1).min()
        kept = [top[top >= cut] for top in tops]
        owners = np.repeat(np.arange(len(normal)), [len(top) for top in kept])
        negative = -np.concatenate(kept)
        order = np.argsort(negative)
        thresholds, first = np.unique(negative[order], return_index=True)
        places = np.stack([first, np.append(first[1:], len(order))], 1)
        if len(weights) > 1:
            some = np.linspace(0, len(thresholds) - 1, min(_THRESHOLDS, len(thresholds)))
            chosen = np.unique(some.round().astype(int))
            thresholds, places = thresholds[chosen], places[chosen]
        per_pixel = how_often / how_often.sum(1, keepdims=True) / np.array(pixels)
        rates = (np.append(0, np.cumsum(row[owners[order]]))[places] for row in per_pixel)
        return -thresholds, np.stack([row.flatten() for row in rates])


def _highest(scores: Floats, count: int) -> Floats:
    """The highest scores of an image, so many of them and what equals the last."""
    flat = scores.flatten()
    place = max(0, flat.size - count)
    top: Floats = flat[flat >= np.partition(flat, place)[place]]
    return top


def _overlaps(anomalous: Floats, thresholds: Floats) -> Float64s:
    """(2V,) shares of an image's anomalous pixels above each of V thresholds, and reaching it."""
    ascending = np.sort(anomalous)
    below = [np.searchsorted(ascending, thresholds, side) for side in ("right", "left")]
    overlaps: Float64s = 1 - np.stack(below, 1).flatten() / len(ascending)
    return overlaps


def _quadrature(rates: Float64s, lower: float, upper: float) -> Float64s:
    """Weights of a curve's points, ascending in rate, in its area over log rates, divided."""
    low, high = np.log([lower, upper])
    with np.errstate(divide="ignore"):
        x = np.log(rates)
    first = int(np.argmax(rates > 0))
    x[:first] = x[first]
    length = np.diff(x)
    begin, end = x[:-1].clip(low, high), x[1:].clip(low, high)
    middle = np.divide(
        (begin + end) / 2 - x[:-1], length, out=np.zeros_like(length), where=length > 0
    )
    weights = np.zeros(len(x))
    weights[:-1] += (end - begin) * (1 - middle)
    weights[1:] += (end - begin) * middle
    weights[first - 1] += x[first].clip(low, high) - low
    quadrature: Float64s = weights / (high - low)
    return quadrature
