"""Gains held against each other class by class: an interval of their mean, and a paired test."""

import math
from collections.abc import Iterable
from statistics import fmean, stdev

from adpt.results.summary import Comparison
from adpt.results.table import Figure
from adpt.results.words import points

LEAST = 5
"""Classes from which on a gain is tested; fewer never reach p = 0.05."""

MEANING = (
    "Gain over classes: 95 % of the mean gain (Student's t) and p (Wilcoxon's signed-rank test)."
)


def over_classes(mean: Comparison, difference: str) -> Figure:
    """Interval and p of a mean gain; empty for fewer than `LEAST` classes.

    Args:
        mean: Mean over classes.
        difference: `difference` or `beyond_residual`.
    """
    gains = [getattr(cell, difference) for cell in mean.cells if cell.classes == 1]
    gains = [gain for gain in gains if not math.isnan(gain)]
    if len(gains) < LEAST or len(gains) < len(mean.cells):
        return Figure("")
    low, high, p = interval_and_p(gains)
    told = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    return Figure(f"[{points(low)}, {points(high)}], {told}")


def interval_and_p(gains: Iterable[float]) -> tuple[float, float, float]:
    """Low and high end of 95 % of a mean, and the two-sided p of no gain."""
    from scipy import stats  # Takes a while to import.

    gains = list(gains)
    reach = stats.t.ppf(0.975, len(gains) - 1) * stdev(gains) / math.sqrt(len(gains))
    p = float(stats.wilcoxon(gains).pvalue) if any(gains) else 1.0
    return fmean(gains) - float(reach), fmean(gains) + float(reach), p
