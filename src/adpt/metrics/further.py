"""Metrics of how anomalous scores lie among normal ones, beside the seven."""

from collections.abc import Mapping
from statistics import fmean

import numpy as np

from adpt.metrics.base import RankedMetric
from adpt.metrics.exact import area_below_overlap, name_of_limit, ranked_metrics
from adpt.metrics.ranking import Rankings


class Aupro(RankedMetric):
    """AUPRO up to a false positive rate, `pixel_aupro_05` for 0.05 and `pixel_aupro_full` for 1.

    Args:
        limit: The false positive rate, above 0 and at most 1; the area is divided by it.

    Raises:
        ValueError: It is out of that range.
    """

    def __init__(self, limit: float = 0.05) -> None:
        self.names = (f"pixel_aupro_{name_of_limit(limit)}",)
        self.limit = limit

    def of_rankings(self, rankings: Rankings) -> Mapping[str, float]:
        """The area; nan without an anomalous region or without a normal pixel."""
        pixel = rankings.pixel
        area = area_below_overlap(pixel, self.limit) if pixel.defined else float("nan")
        return {self.names[0]: area}


class IoUMax(RankedMetric):
    """The best intersection over union of anomalous pixels that any threshold reaches.

    Over the pixels of all test images together, as ADer's mIoU-max, here at every threshold.
    """

    names = ("pixel_iou_max",)

    def of_rankings(self, rankings: Rankings) -> Mapping[str, float]:
        """The best value; nan without anomalous or without normal pixels."""
        pixel = rankings.pixel
        if not pixel.defined:
            return {"pixel_iou_max": float("nan")}
        # Between two anomalous scores only false positives are added.
        union = pixel.false_positives + pixel.positives
        return {"pixel_iou_max": float(np.max(pixel.true_positives / union))}


class MeanOfSeven(RankedMetric):
    """mAD, as ADer has it: the mean of the seven metrics of images and pixels."""

    names = ("mad",)

    def of_rankings(self, rankings: Rankings) -> Mapping[str, float]:
        """The mean; nan where one of them is not defined."""
        return {"mad": fmean(ranked_metrics(rankings).values())}
