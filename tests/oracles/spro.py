"""sPRO as its definition reads."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def literal(
    maps: np.ndarray, regions: Sequence[Sequence[tuple[np.ndarray, int]]], limit: float
) -> float:
    """Every threshold, every defect, every pixel; a defect is its mask and what is enough of it."""
    beside = np.ones(maps.shape, bool)
    for number, defects in enumerate(regions):
        for pixels, _ in defects:
            beside[number] &= ~pixels
    curve = [(0.0, 0.0)]
    for threshold in sorted(set(maps.flatten().tolist()), reverse=True):
        found = maps >= threshold
        overlaps = [
            min(np.sum(found[number] & pixels) / enough, 1.0)
            for number, defects in enumerate(regions)
            for pixels, enough in defects
        ]
        curve.append((float(np.mean(found[beside])), float(np.mean(overlaps))))
    area = 0.0
    for (x, y), (further, higher) in pairwise(curve):
        if x < limit < further:
            higher = y + (higher - y) * (limit - x) / (further - x)
            further = limit
        if further <= limit:
            area += (further - x) * (y + higher) / 2
    return area / limit
