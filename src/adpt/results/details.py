"""Scores and curves of a result, in a small file beside its record."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from adpt.metrics import Ranking, Rankings, rank_maps
from adpt.results.npz_file import load_arrays, save_arrays, unreadable

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
    paths: Sequence[str],
    labels: Tensor,
    masks: Tensor,
    image_scores: Tensor,
    maps: Tensor,
    rankings: Rankings | None = None,
) -> Details:
    """Curves, histograms and small maps of scored images.

    Args:
        paths: The N images.
        labels: (N,), 1 for anomalous.
        masks: (N, H, W) bool; (N, 0, 0) where nobody marked the defects.
        image_scores: (N,).
        maps: (N, H, W).
        rankings: Those of these scores, where the metrics made them already.
    """
    if rankings is None:
        rankings = rank_maps(maps, masks if masks.shape[-1] else None, image_scores, labels=labels)
    largest = max(maps.shape[-2:])
    side = [max(1, round(length * min(1, MAP_SIDE / largest))) for length in maps.shape[-2:]]
    small = F.interpolate(maps[:, None].float(), size=side, mode="area")[:, 0]
    low, high = float(maps.min()), float(maps.max())
    small = (small - low) / max(high - low, 1e-30)
    image_roc, image_pr = _curves(rankings.image)
    pixel_roc, pixel_pr = _curves(rankings.pixel)
    return Details(
        np.array(list(paths), dtype=np.str_),
        labels.numpy().astype(np.int64),
        image_scores.numpy().astype(np.float32),
        small.half().numpy(),
        np.array([low, high], dtype=np.float32),
        image_roc,
        image_pr,
        pixel_roc,
        pixel_pr,
        _histogram(rankings.image),
        _histogram(rankings.pixel),
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


def _curves(ranking: Ranking) -> tuple[Floats, Floats]:
    """ROC and PR curve, ties grouped; empty where there are not both kinds.

    The curves turn at anomalous scores alone: between two of them the ROC curve goes straight right
    and the PR curve straight down.
    """
    if not ranking.defined:
        return np.zeros((2, 0), np.float32), np.zeros((2, 0), np.float32)
    normal, anomalous = ranking.negatives, ranking.positives
    reaching = ranking.true_positives
    found = _corners(reaching - ranking.group_sizes, reaching, anomalous)
    false = _corners(ranking.false_positives_above, ranking.false_positives, normal)
    reached = found + false
    precision = np.divide(found, reached, out=np.ones(len(found)), where=reached > 0)
    recall = found / anomalous
    return _thinned(false / normal, recall), _thinned(recall, precision)


def _corners(above: Counts, reaching: Counts, total: int) -> Counts:
    """From the highest anomalous score down, what lies above it and what reaches it.

    In front stands what lies above all scores, at the end what reaches the lowest.
    """
    corners = np.stack([above, reaching], axis=1)[::-1].flatten()
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


def _histogram(ranking: Ranking) -> Floats:
    normal = np.empty(0) if ranking.normal is None else ranking.normal
    ends = [s for scores in (normal, ranking.thresholds) for s in (*scores[:1], *scores[-1:])]
    if not ends:
        return np.zeros((3, 0))
    # In float64: bins of nearly constant float32 scores would have no width.
    low, high = np.float64(min(ends)), np.float64(max(ends))
    if low == high:
        # Bins need a width; a single score fills the first.
        high = low + max(1, abs(low))
    kinds = (normal, None), (ranking.thresholds, ranking.group_sizes)
    counts = (np.histogram(scores, _BINS, (low, high), weights=many)[0] for scores, many in kinds)
    shares = [found / max(1, found.sum()) for found in counts]
    return np.stack([np.linspace(low, high, _BINS + 1)[:-1], *shares])
