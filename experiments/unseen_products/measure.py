"""Fit methods on features and measure their scores."""

from collections.abc import Callable

import torch
from stored import Pictures, Product
from torch import Tensor

from adpt.methods.base import Method
from adpt.methods.feature_sets import DefectSet, InMemory
from adpt.methods.trained import TrainedMethod
from adpt.metrics import anomaly_metrics

METRICS = ("image_auroc", "pixel_ap", "pixel_aupro")
Recipe = Callable[[Product, Pictures], list[Tensor]]
"""Makes the levels that a method sees of some of a product's images."""


def fit(method: Method, train: list[Tensor], defects: DefectSet | None = None) -> None:
    """Fit a method on normal features, and on defects rendered on the same images."""
    if isinstance(method, TrainedMethod):
        method.train_on(InMemory(train), torch.device("cpu"), defects=defects)
    else:
        with torch.no_grad():
            method.fit(
                [[level[i : i + 16] for level in train] for i in range(0, len(train[0]), 16)]
            )


@torch.no_grad()
def measured(method: Method, test: list[Tensor], pictures: Pictures) -> dict[str, float]:
    """Each metric of a fitted method, in percent."""
    parts = [method.score([level[i : i + 16] for level in test])
             for i in range(0, len(test[0]), 16)]  # fmt: skip
    maps, image = (torch.cat([part[k] for part in parts]) for k in (0, 1))
    found = anomaly_metrics(maps, pictures.masks, image, labels=pictures.labels)
    return {name: 100 * found[name] for name in METRICS}
