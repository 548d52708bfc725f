"""Image and pixel metrics of anomaly detection, exact for scores of any range."""

from adpt.metrics.exact import (
    anomaly_metrics,
    aupro,
    aupro_paper,
    auroc,
    average_precision,
    f1_max,
)
from adpt.metrics.gathered import AnomalyMetrics

__all__ = [
    "AnomalyMetrics",
    "anomaly_metrics",
    "aupro",
    "aupro_paper",
    "auroc",
    "average_precision",
    "f1_max",
]
