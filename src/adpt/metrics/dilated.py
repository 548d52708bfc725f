"""AUPRO as GLASS's authors approximate it: overlaps are taken from dilated predictions."""

import numpy as np
from scipy import ndimage

from adpt.metrics.arrays import Array, maps_and_masks
from adpt.metrics.exact import stretched_area
from adpt.metrics.ranking import overlap_shares, rank, rank_pixels

_REACH = 5


def aupro_dilated(maps: Array, masks: Array) -> float:
    """Approximate AUPRO as `aupro_paper` does, with predictions dilated for the overlap.

    A region counts as met by what lies up to two pixels beside it; false positives are counted
    without that, so that small defects score higher than they are found (by 9 points on maps of
    regions of a few pixels).

    Arguments and errors as in `aupro`.

    Returns:
        In [0, 1]; nan as in `aupro`, and 0 with fewer than two points.
    """
    scores, anomalous = maps_and_masks(maps, masks)
    plain = rank_pixels(scores, anomalous)
    if not plain.defined:
        return float("nan")
    wide = ndimage.maximum_filter(scores, (1, _REACH, _REACH), mode="constant", cval=-np.inf)
    overlap = rank(wide, anomalous, overlap_shares(anomalous))
    return stretched_area(plain, overlap, fewest=2, otherwise=0.0)
