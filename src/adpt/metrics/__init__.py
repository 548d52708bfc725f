"""Image and pixel metrics of anomaly detection, exact for scores of any range."""

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
from adpt.metrics.ranking import Ranking, Rankings, rank_maps

__all__ = [
    "Ranking",
    "Rankings",
    "anomaly_metrics",
    "aupro",
    "aupro_dilated",
    "aupro_paper",
    "auroc",
    "average_precision",
    "f1_max",
    "rank_maps",
    "ranked_metrics",
]
