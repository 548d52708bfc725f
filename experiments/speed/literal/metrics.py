"""The seven metrics: AUPRO by a loop over 200 thresholds, images and regions, or over all scores.

Arrays: maps (N, H, W) of scores, masks (N, H, W) of bool.
"""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]
Points = list[tuple[float, float]]

FPR_LIMIT = 0.3
THRESHOLDS = 200


def literal_metrics(maps: Floats, masks: Bools) -> dict[str, float]:
    """All seven; AUPRO as the authors approximate it."""
    return sklearn_metrics(maps, masks) | {"pixel_aupro_paper": literal_aupro_paper(maps, masks)}


def exact_metrics(maps: Floats, masks: Bools) -> dict[str, float]:
    """All seven, with a point of the AUPRO curve for each distinct score."""
    return sklearn_metrics(maps, masks) | {"pixel_aupro": literal_aupro(maps, masks)}


def sklearn_metrics(maps: Floats, masks: Bools) -> dict[str, float]:
    """AUROC, AP and F1-max of images and of pixels."""
    scored = {
        "image": (masks.any(axis=(1, 2)), maps.max(axis=(1, 2)).astype(np.float64)),
        "pixel": (masks.ravel(), maps.ravel().astype(np.float64)),
    }
    metrics = {}
    for name, (labels, scores) in scored.items():
        metrics[f"{name}_auroc"] = float(roc_auc_score(labels, scores))
        metrics[f"{name}_ap"] = float(average_precision_score(labels, scores))
        metrics[f"{name}_f1max"] = sklearn_f1_max(labels, scores)
    return metrics


def sklearn_f1_max(labels: Bools, scores: Floats) -> float:
    """The best F1 score among all thresholds."""
    precision, recall, _ = precision_recall_curve(labels, scores)
    return float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300)))


def literal_aupro_paper(maps: Floats, masks: Bools) -> float:
    """200 thresholds from the lowest score up, rates below 0.3, stretched to [0, 1]."""
    low, high = float(maps.min()), float(maps.max())
    points = []
    for k in range(THRESHOLDS):
        threshold = maps.dtype.type(low + k * (high - low) / THRESHOLDS)
        points.append(fpr_and_pro(maps > threshold, masks))
    kept = [(fpr, pro) for fpr, pro in points if fpr < FPR_LIMIT]
    least, most = min(fpr for fpr, _ in kept), max(fpr for fpr, _ in kept)
    area = 0.0
    for (x1, y1), (x0, y0) in itertools.pairwise(kept):
        area += (x1 - x0) / (most - least) * (y0 + y1) / 2
    return area


def literal_aupro(maps: Floats, masks: Bools, limit: float = FPR_LIMIT) -> float:
    """A point for each distinct score, straight lines between them, cut at a rate."""
    points = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        points.append(fpr_and_pro(maps >= threshold, masks))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x1 <= limit:
            area += (x1 - x0) * (y0 + y1) / 2
        else:
            y_limit = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            area += (limit - x0) * (y0 + y_limit) / 2
            break
    return area / limit


def fpr_and_pro(above: Bools, masks: Bools) -> tuple[float, float]:
    """False positive rate over all images, and the mean overlap over their regions."""
    overlaps = []
    for reached, mask in zip(above, masks, strict=True):
        regions, count = ndimage.label(mask, structure=np.ones((3, 3)))
        for number in range(1, count + 1):
            pixels = np.argwhere(regions == number)
            overlaps.append(reached[pixels[:, 0], pixels[:, 1]].sum() / len(pixels))
    return float((above & ~masks).sum() / (~masks).sum()), float(np.mean(overlaps))
