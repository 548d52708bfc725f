"""AUPIMO: recall of each anomalous image where normal images hardly show a false positive."""

from collections.abc import Mapping

import numpy as np

from adpt.metrics.arrays import Floats
from adpt.metrics.base import Metric
from adpt.metrics.ranking import Counts, Float64s
from adpt.metrics.scored import Scored


class Aupimo(Metric):
    """Mean area under the per-image overlap curves (arXiv 2401.01984), exact.

    An image's curve is the share of its anomalous pixels that reach a threshold, over the logarithm
    of the shared false positive rate: the mean, over normal images, of the share of their pixels
    that reach it. It has a point before and at each distinct normal score, straight lines between,
    and its area between two rates is divided by that of a perfect one.

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
        nothing = np.empty((len(weights), 0)), np.empty(0, np.int64)
        normal = np.flatnonzero(~scored.labels).tolist()
        if scored.masks is None or not len(normal):
            return nothing
        tops = [self._top(scored.maps[number], len(normal)) for number in normal]
        pixels = [scored.maps[number].size for number in normal]
        if 1 / (len(normal) * min(pixels)) > self.lower:
            return nothing
        # Below the highest of these all rates are above `upper`; higher scores are all at hand.
        lowest = np.array([top.min() for top in tops])
        drawn = weights[:, normal] > 0
        cut = np.where(drawn, lowest, -np.inf).max(1).min()
        kept = [top[top >= cut] for top in tops]
        shares = np.repeat(1 / np.array(pixels), list(map(len, kept)))
        owners = np.repeat(np.arange(len(normal)), list(map(len, kept)))
        together = np.concatenate(kept)
        order = np.argsort(-together, kind="stable")
        thresholds, first = np.unique(-together[order], return_index=True)
        ends = np.append(first[1:], len(order))
        quadrature = np.empty((len(weights), 2 * len(thresholds)))
        for row, how_often in zip(quadrature, weights[:, normal], strict=True):
            mass = np.append(0, np.cumsum((shares * how_often[owners])[order])) / how_often.sum()
            row[:] = _quadrature(mass[np.stack([first, ends], 1)].flatten(), self.lower, self.upper)
        chosen, areas = [], []
        for number in np.flatnonzero(scored.labels).tolist():
            if (mask := scored.masks[number]).any():
                chosen.append(number)
                areas.append(quadrature @ _overlaps(scored.maps[number][mask], -thresholds))
        return np.stack(areas, 1) if areas else nothing[0], np.array(chosen, np.int64)

    def _top(self, scores: Floats, images: int) -> Floats:
        """The highest scores of a normal image, as many as decide over rates up to `upper`."""
        flat = scores.flatten()
        place = flat.size - min(flat.size, int(self.upper * images * flat.size) + 1)
        top: Floats = flat[flat >= np.partition(flat, place)[place]]
        return top


def _overlaps(anomalous: Floats, thresholds: Floats) -> Float64s:
    """(2V,) shares of an image's anomalous pixels above each of V thresholds, and reaching it."""
    ascending = np.sort(anomalous)
    below = [np.searchsorted(ascending, thresholds, side) for side in ("right", "left")]
    overlaps: Float64s = 1 - np.stack(below, 1).flatten() / len(ascending)
    return overlaps


def _quadrature(rates: Float64s, lower: float, upper: float) -> Float64s:
    """Weights of a curve's points, ascending in rate, in its area over log rates, divided.

    A resample may have no rate as low as `lower`: below its first one the curve is level, at the
    share that no normal score reaches.
    """
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
