"""Image and pixel metrics of anomaly detection, exact for scores of any range."""

from adpt.metrics.aupimo import Aupimo
from adpt.metrics.base import Metric, RankedMetric
from adpt.metrics.dilated import aupro_dilated
from adpt.metrics.exact import (
    anomaly_metrics,
    aupro,
    aupro_paper,
    auroc,
    average_precision,
    f1_max,
    ranked_metrics,
)
from adpt.metrics.further import Aupro, IoUMax, MeanOfSeven
from adpt.metrics.grouped import AurocByKind, SampleAuroc
from adpt.metrics.ranking import Ranking, Rankings, rank_maps
from adpt.metrics.scored import Good, Pictured, Scored, TrueRegion, no_good
from adpt.metrics.segmentation import SegF1
from adpt.metrics.spro import SPRO

__all__ = [
    "SPRO",
    "Aupimo",
    "Aupro",
    "AurocByKind",
    "Good",
    "IoUMax",
    "MeanOfSeven",
    "Metric",
    "Pictured",
    "RankedMetric",
    "Ranking",
    "Rankings",
    "SampleAuroc",
    "Scored",
    "SegF1",
    "TrueRegion",
    "anomaly_metrics",
    "aupro",
    "aupro_dilated",
    "aupro_paper",
    "auroc",
    "average_precision",
    "f1_max",
    "no_good",
    "rank_maps",
    "ranked_metrics",
]
