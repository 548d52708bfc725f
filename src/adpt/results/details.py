"""Scores and curves of a result, in a small file beside its record."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from adpt.results.arrays import load_arrays, save_arrays, unreadable

MAP_SIDE = 64
"""Longest side of the kept score maps: they are smooth, so that little is lost."""

_KIND = "details of a result"
_POINTS = 400
_BINS = 60

Floats = npt.NDArray[np.floating]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Details:
    """Arrays that pictures of a result are made of; a few kB a test image.

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
        pixel_histogram: (3, B), likewise over pixels; (3, 0) where nobody marked the defects.
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
        masks: (N, H, W) bool; (N, 0, 0) where nobody marked the defects.
        image_scores: (N,).
        maps: (N, H, W).
    """
    marked = masks.shape[-1] > 0
    largest = max(maps.shape[-2:])
    side = [max(1, round(length * min(1, MAP_SIDE / largest))) for length in maps.shape[-2:]]
    small = F.interpolate(maps[:, None].float(), size=side, mode="area")[:, 0]
    low, high = float(maps.min()), float(maps.max())
    small = (small - low) / max(high - low, 1e-30)
    image = image_scores.numpy()
    pixels = maps.flatten().numpy() if marked else np.zeros(0, np.float32)
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
    save_arrays(path, {field.name: getattr(details, field.name) for field in fields(Details)})


def load_details(path: Path) -> Details:
    """Read a file that `save_details` wrote.

    Raises:
        UserError: It is missing or damaged.
    """
    arrays = load_arrays(path, _KIND)
    try:
        return Details(**{field.name: arrays[field.name] for field in fields(Details)})
    except KeyError as error:
        raise unreadable(path, _KIND, error) from error


def _curves(scores: Floats, anomalous: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """ROC and PR curve, ties grouped; empty where there are not both kinds.

    The curves turn at anomalous scores alone: between two of them the ROC curve goes straight right
    and the PR curve straight down. So values are sorted, which is far faster than sorting indices,
    the two kinds apart, and the corners are counted.
    """
    normal, wrong = np.sort(scores[~anomalous]), np.sort(scores[anomalous])
    if not len(normal) or not len(wrong):
        return np.zeros((2, 0), np.float32), np.zeros((2, 0), np.float32)
    first = np.flatnonzero(np.append(True, wrong[1:] != wrong[:-1]))[::-1]
    thresholds = wrong[first]
    # From the highest anomalous score down: what lies above it, and what reaches it. In front what
    # lies above all scores, at the end what reaches the lowest.
    found = _counts(len(wrong), np.append(len(wrong), first[:-1]), first)
    false = _counts(
        len(normal),
        np.searchsorted(normal, thresholds, "right"),
        np.searchsorted(normal, thresholds, "left"),
    )
    reached = found + false
    precision = np.divide(found, reached, out=np.ones(len(found)), where=reached > 0)
    recall = found / len(wrong)
    return _thinned(false / len(normal), recall), _thinned(recall, precision)


def _counts(total: int, not_above: Counts, not_reaching: Counts) -> Counts:
    corners = total - np.stack([not_above, not_reaching], axis=1).flatten()
    return np.concatenate([[0], corners, [total]])


def _thinned(x: Floats, y: Floats) -> Floats:
    """Points of a curve, half of them evenly along x, so that its area is kept, half along it."""
    kept = np.arange(len(x))
    if len(x) > _POINTS:
        along = np.append(0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
        kept = np.concatenate([_evenly(x), _evenly(along), [0, len(x) - 1]])
    kept = np.unique(kept)
    return np.stack([x[kept], y[kept]]).astype(np.float32)


def _evenly(ascending: Floats) -> Counts:
    wanted = np.linspace(ascending[0], ascending[-1], _POINTS // 2 - 1)
    return np.searchsorted(ascending, wanted)


def _histogram(scores: Floats, anomalous: npt.NDArray[np.bool_]) -> Floats:
    if not len(scores):
        return np.zeros((3, 0))
    # In float64: bins of nearly constant float32 scores would have no width.
    low, high = np.float64(scores.min()), np.float64(scores.max())
    if low == high:
        # Bins need a width; a single score fills the first.
        high = low + max(1, abs(low))
    shares = [
        np.histogram(scores[kind], _BINS, (low, high))[0] / max(1, int(kind.sum()))
        for kind in (~anomalous, anomalous)
    ]
    return np.stack([np.linspace(low, high, _BINS + 1)[:-1], *shares])
