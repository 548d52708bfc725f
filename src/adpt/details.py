"""Scores and curves of a result, in a small file beside its record."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from adpt.errors import UserError
from adpt.files import replacing

MAP_SIDE = 64
"""Longest side of the kept score maps: they are smooth, so that little is lost."""

_POINTS = 400
_BINS = 60

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Details:
    """What pictures of a result are made of; a few kB a test image.

    Attributes:
        paths: (N,) the test images.
        labels: (N,) 1 for anomalous.
        image_scores: (N,) float32.
        maps: (N, h, w) float16 score maps, made smaller, 0 to 1 over `map_range`.
        map_range: (2,) lowest and highest pixel score of all the images.
        image_roc: (2, P) false positive rate, true positive rate.
        image_pr: (2, P) recall, precision.
        pixel_roc: (2, P), at most 400 points, evenly spread over the curve.
        pixel_pr: (2, P), likewise.
        image_histogram: (3, B): left edges of the bins, share of normal images, of anomalous ones.
        pixel_histogram: (3, B), likewise over pixels.
    """

    paths: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    image_scores: Floats
    maps: Floats
    map_range: Floats
    image_roc: Floats
    image_pr: Floats
    pixel_roc: Floats
    pixel_pr: Floats
    image_histogram: Floats
    pixel_histogram: Floats


def details_of(
    paths: Sequence[str], labels: Tensor, masks: Tensor, image_scores: Tensor, maps: Tensor
) -> Details:
    """Curves, histograms and small maps of scored images.

    Args:
        paths: The N images.
        labels: (N,), 1 for anomalous.
        masks: (N, H, W) bool.
        image_scores: (N,).
        maps: (N, H, W).
    """
    largest = max(maps.shape[-2:])
    side = [max(1, round(length * min(1, MAP_SIDE / largest))) for length in maps.shape[-2:]]
    small = F.interpolate(maps[:, None].float(), size=side, mode="area")[:, 0]
    low, high = float(maps.min()), float(maps.max())
    small = (small - low) / max(high - low, 1e-30)
    image, pixels = image_scores.numpy(), maps.flatten().numpy()
    anomalous, wrong = labels.numpy() > 0, masks.flatten().numpy()
    image_roc, image_pr = _curves(image, anomalous)
    pixel_roc, pixel_pr = _curves(pixels, wrong)
    return Details(
        np.array(list(paths), dtype=np.str_),
        labels.numpy().astype(np.int64),
        image.astype(np.float32),
        small.half().numpy(),
        np.array([low, high], dtype=np.float32),
        image_roc,
        image_pr,
        pixel_roc,
        pixel_pr,
        _histogram(image, anomalous),
        _histogram(pixels, wrong),
    )


def save_details(details: Details, path: Path) -> None:
    """Write a file, whole or not at all.

    Raises:
        UserError: It could not be written.
    """
    arrays = {field.name: getattr(details, field.name) for field in fields(Details)}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_details(path: Path) -> Details:
    """Read a file that `save_details` wrote.

    Raises:
        UserError: It is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Details(**{field.name: arrays[field.name] for field in fields(Details)})
    except Exception as error:
        raise UserError(
            f"{path} cannot be read as details of a result: {error}. Delete it and evaluate again."
        ) from error


def _curves(scores: Floats, anomalous: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """ROC and PR curve, ties grouped; empty where there are not both kinds."""
    positives, negatives = int(anomalous.sum()), int((~anomalous).sum())
    if not positives or not negatives:
        return np.zeros((2, 0), np.float32), np.zeros((2, 0), np.float32)
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    found = np.cumsum(anomalous[order], dtype=np.int64)[last_of_tie]
    false = last_of_tie + 1 - found
    fpr, tpr = np.append(0, false / negatives), np.append(0, found / positives)
    precision = np.append(1, found / (found + false))
    # Evenly along the length of the curve: a ROC curve's points crowd in its corner.
    roc = _thinned(fpr, tpr)
    return roc, _thinned(tpr, precision)


def _thinned(x: Floats, y: Floats) -> Floats:
    along = np.append(0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    wanted = np.searchsorted(along, np.linspace(0, along[-1], _POINTS))
    chosen = np.unique(np.append(np.minimum(wanted, len(x) - 1), [0, len(x) - 1]))
    return np.stack([x[chosen], y[chosen]]).astype(np.float32)


def _histogram(scores: Floats, anomalous: npt.NDArray[np.bool_]) -> Floats:
    edges = np.linspace(scores.min(), np.nextafter(scores.max(), np.inf), _BINS + 1)
    if edges[0] == edges[-1]:
        edges = np.linspace(edges[0] - 0.5, edges[0] + 0.5, _BINS + 1)
    shares = [
        np.histogram(scores[kind], edges)[0] / max(1, int(kind.sum()))
        for kind in (~anomalous, anomalous)
    ]
    return np.stack([edges[:-1], *shares]).astype(np.float32)
