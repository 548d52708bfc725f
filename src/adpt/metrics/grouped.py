"""Image AUROC of each kind of defect, and of images that show one piece together."""

from collections.abc import Mapping
from statistics import fmean

import numpy as np

from adpt.metrics.base import Metric
from adpt.metrics.exact import auroc
from adpt.metrics.scored import Scored


class AurocByKind(Metric):
    """Image AUROC of each kind of defect against all normal images, and the mean of these.

    Args:
        kinds: Name to a kind of defect as the set calls it, such as the two of MVTec LOCO.
    """

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self.kinds = dict(kinds)
        self.names = (*(f"image_auroc_{kind}" for kind in self.kinds), "image_auroc_mean")

    def measure(self, scored: Scored) -> Mapping[str, float]:
        """Each AUROC and the mean; nan without images of the kind or without normal ones."""
        defects = np.array([sample.defect for sample in scored.samples])
        found = [float("nan")] * len(self.kinds)
        if len(defects):
            parts = [~scored.labels | (defects == kind) for kind in self.kinds.values()]
            found = [auroc(scored.image_scores[p], scored.labels[p]) for p in parts]
        return dict(zip(self.names, [*found, fmean(found)], strict=True))


class SampleAuroc(Metric):
    """AUROC of pieces seen from several views, as Real-IAD's S-AUROC (Wang et al. 2024).

    A piece's score is the largest of its images' scores, and it is anomalous if one of them is.
    """

    names = ("image_sample_auroc",)

    def measure(self, scored: Scored) -> Mapping[str, float]:
        """AUROC; nan where images do not tell their piece, and without pieces of both labels."""
        pieces = [sample.piece for sample in scored.samples]
        if not pieces or not all(pieces):
            return {"image_sample_auroc": float("nan")}
        names, whose = np.unique(pieces, return_inverse=True)
        scores, labels = np.full(len(names), -np.inf), np.zeros(len(names), bool)
        np.maximum.at(scores, whose, scored.image_scores)
        np.logical_or.at(labels, whose, scored.labels)
        return {"image_sample_auroc": auroc(scores, labels)}
