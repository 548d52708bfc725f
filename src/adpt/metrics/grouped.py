"""Image AUROC of each kind of defect, and of images that show one piece together."""

from collections.abc import Mapping

import numpy as np

from adpt.metrics.base import Metric
from adpt.metrics.exact import auroc
from adpt.metrics.ranking import Counts, Float64s
from adpt.metrics.scored import Scored


class AurocByKind(Metric):
    """Image AUROC of each kind of defect against all normal images, and the mean of these.

    Args:
        kinds: Name to a kind of defect as the set calls it, such as the two of MVTec LOCO.

    Raises:
        ValueError: There is none.
    """

    def __init__(self, kinds: Mapping[str, str]) -> None:
        if not kinds:
            raise ValueError("kinds is empty: name a kind of defect as the set calls it.")
        self.kinds = dict(kinds)
        self.names = (*(f"image_auroc_{kind}" for kind in self.kinds), "image_auroc_mean")

    def measure(self, scored: Scored) -> Mapping[str, float]:
        """Each AUROC and the mean; nan without images of the kind or without normal ones."""
        return {name: float(v[0]) for name, v in self.resampled(scored, scored.each_once).items()}

    def resampled(self, scored: Scored, weights: Counts) -> Mapping[str, Float64s]:
        """The same of each resample."""
        defects = np.array([sample.defect for sample in scored.samples] or [""] * len(scored))
        found = []
        for kind in self.kinds.values():
            of_kind = scored.labels & (defects == kind)
            scores = scored.image_scores[of_kind, None], scored.image_scores[~scored.labels]
            wins = (scores[0] > scores[1]) + (scores[0] == scores[1]) / 2
            own, normal = weights[:, of_kind], weights[:, ~scored.labels]
            pairs = own.sum(1) * normal.sum(1)
            auroc = np.full(len(weights), np.nan)
            np.divide((own @ wins * normal).sum(1), pairs, out=auroc, where=pairs > 0)
            found.append(auroc)
        return dict(zip(self.names, [*found, np.mean(found, axis=0)], strict=True))


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
