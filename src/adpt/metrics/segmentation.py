"""F1 of segmentations at a threshold that no test image has a part in."""

import math
from collections.abc import Mapping

import numpy as np

from adpt.metrics.base import Metric
from adpt.metrics.ranking import Counts, Float64s
from adpt.metrics.scored import Scored


class SegF1(Metric):
    """F1 of the pixels of all test images at a fixed threshold, as MVTec AD 2 is evaluated.

    Args:
        threshold: A pixel that reaches it is taken for anomalous; None takes it from good images
            that are no test images, those of the set for validation or else those fitted on, from
            pixel scores as if each had not been there: their mean and so many standard deviations.
        deviations: How many.

    Raises:
        ValueError: One of them is not finite.
    """

    names = ("pixel_seg_f1",)

    def __init__(self, threshold: float | None = None, deviations: float = 3.0) -> None:
        if not math.isfinite(deviations) or not (threshold is None or math.isfinite(threshold)):
            raise ValueError(
                f"threshold is {threshold} and deviations {deviations}: give finite numbers, or"
                " threshold=null for one from good images."
            )
        self.threshold, self.deviations = threshold, deviations

    def measure(self, scored: Scored) -> Mapping[str, float]:
        """F1; nan without an anomalous pixel, or where the method tells no scores of good ones."""
        return {name: float(f[0]) for name, f in self.resampled(scored, scored.each_once).items()}

    def resampled(self, scored: Scored, weights: Counts) -> Mapping[str, Float64s]:
        """F1 of each resample; the threshold stays."""
        threshold = self.threshold_for(scored)
        if scored.masks is None or threshold is None:
            return {"pixel_seg_f1": np.full(len(weights), np.nan)}
        counts = np.zeros((len(scored), 3), np.int64)
        for number, (scores, mask) in enumerate(zip(scored.maps, scored.masks, strict=True)):
            taken = scores >= threshold
            counts[number] = (taken & mask).sum(), taken.sum(), mask.sum()
        found, taken_for, marked = (weights @ counts).T
        f1 = np.full(len(weights), np.nan)
        np.divide(2 * found, taken_for + marked, out=f1, where=marked > 0)
        return {"pixel_seg_f1": f1}

    def threshold_for(self, scored: Scored) -> float | None:
        """The threshold; None where there is nothing to take it from."""
        if self.threshold is not None or scored.good is None:
            return self.threshold
        pixels = scored.good.maps.astype(np.float64)
        return float(pixels.mean() + self.deviations * pixels.std())
