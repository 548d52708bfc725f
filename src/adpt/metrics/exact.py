"""Image and pixel AUROC, AP, F1-max and AUPRO, exact for scores of any range.

All of them follow from how the anomalous scores lie among the normal ones, so `_rank` sorts the two
apart, once, and counts at each distinct anomalous score; no metric looks at a pixel again.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

Array = Tensor | npt.NDArray[Any]
_Floats = npt.NDArray[np.floating[Any]]
_Float64s = npt.NDArray[np.float64]
_Counts = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]

_FPR_LIMIT = 0.3
_PAPER_THRESHOLDS = 200

# Neighbours within an image count, corners included (8-connected); those in another image don't.
_NEIGHBOURS = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])


def anomaly_metrics(
    maps: Array,
    masks: Array | None,
    image_scores: Array | None = None,
    *,
    labels: Array | None = None,
    paper_aupro: bool = False,
) -> dict[str, float]:
    """Compute the seven metrics of anomaly detection, four of them from one sort of the pixels.

    Only the order of the scores matters (but for the paper's variant of AUPRO), ties are grouped
    as in scikit-learn, and the order of the images doesn't matter. A metric is nan where it is not
    defined: without anomalous or without normal images (image metrics) or pixels (pixel metrics),
    and all pixel metrics without masks.

    Beside its arguments this takes about 6 bytes a float32 pixel (10 if float64) and 80 more an
    anomalous pixel, and a copy of what comes from a GPU or in half precision.

    Args:
        maps: (N, H, W), a finite score a pixel of any range; larger is more anomalous.
        masks: (N, H, W), non-zero where a pixel is anomalous; None where nobody knows.
        image_scores: (N,), finite; default: each map's maximum.
        labels: (N,), non-zero where an image is anomalous; default: those with an anomalous pixel.
            Give them where a small defect may have vanished from a resized mask, or without masks.
        paper_aupro: Also give `pixel_aupro_paper`, see `aupro_paper`.

    Returns:
        `image_auroc`, `image_ap`, `image_f1max`, `pixel_auroc`, `pixel_ap`, `pixel_f1max` and
        `pixel_aupro` in [0, 1] or nan.

    Raises:
        ValueError: Shapes that don't match, maps without pixels, NaN or infinite scores, neither
            masks nor labels.
    """
    if masks is None and labels is None:
        raise ValueError("without masks, labels must tell which images are anomalous.")
    # Without an anomalous pixel no pixel metric is defined.
    pixels, anomalous = _maps_and_masks(
        maps, np.zeros(tuple(maps.shape), bool) if masks is None else masks
    )
    if image_scores is None:
        images = pixels.max(axis=(1, 2))
    else:
        images = _scores(image_scores, "image_scores")
    image_labels = anomalous.max(axis=(1, 2)) if labels is None else _labels(labels)
    check_per_image(len(pixels), images.shape, "image_scores")
    check_per_image(len(pixels), image_labels.shape, "labels")

    image = _rank(images, image_labels)
    pixel = _rank(pixels, anomalous, _overlap_shares(anomalous))
    metrics = {
        "image_auroc": _auroc(image),
        "image_ap": _average_precision(image),
        "image_f1max": _f1_max(image),
        "pixel_auroc": _auroc(pixel),
        "pixel_ap": _average_precision(pixel),
        "pixel_f1max": _f1_max(pixel),
        "pixel_aupro": _aupro(pixel),
    }
    if paper_aupro:
        metrics["pixel_aupro_paper"] = _aupro_paper(pixel)
    return metrics


def auroc(scores: Array, labels: Array) -> float:
    """Compute the area under the ROC curve.

    Args:
        scores: Finite, any shape; larger is more anomalous.
        labels: The same shape, non-zero where anomalous.

    Returns:
        In [0, 1]; nan if one class is missing.

    Raises:
        ValueError: Shapes that don't match, NaN or infinite scores.
    """
    return _auroc(_rank(*_scores_and_labels(scores, labels)))


def average_precision(scores: Array, labels: Array) -> float:
    """Compute the average precision: precision summed over the steps of recall.

    Arguments, result and errors as in `auroc`.
    """
    return _average_precision(_rank(*_scores_and_labels(scores, labels)))


def f1_max(scores: Array, labels: Array) -> float:
    """Compute the best F1 score that any threshold reaches.

    Arguments, result and errors as in `auroc`.
    """
    return _f1_max(_rank(*_scores_and_labels(scores, labels)))


def aupro(maps: Array, masks: Array) -> float:
    """Compute the area under the per-region overlap (PRO) curve up to a false positive rate of 0.3.

    PRO at a threshold is the mean, over the 8-connected anomalous regions of all images, of the
    part of the region that reaches it; the rate is over the normal pixels of all images. The curve
    has a point for each distinct score and straight lines between, and its area is divided by 0.3.

    Args:
        maps: (N, H, W), a finite score a pixel; larger is more anomalous.
        masks: (N, H, W), non-zero where a pixel is anomalous.

    Returns:
        In [0, 1]; nan without an anomalous region or without a normal pixel.

    Raises:
        ValueError: Shapes that don't match, maps without pixels, NaN or infinite scores.
    """
    pixels, anomalous = _maps_and_masks(maps, masks)
    return _aupro(_rank(pixels, anomalous, _overlap_shares(anomalous)))


def aupro_paper(maps: Array, masks: Array) -> float:
    """Approximate AUPRO as the paper's authors do, to hold results against published ones.

    Points at 200 thresholds in even steps from the lowest score up (the highest left out), strictly
    above and strictly below a false positive rate of 0.3; their rates are stretched to [0, 1]. With
    fewer than three such points the authors say 0.5. Unlike `aupro`, it changes when the scores go
    through an increasing function that isn't linear, and one outlier coarsens it.

    Arguments and errors as in `aupro`.

    Returns:
        In [0, 1]; nan as in `aupro`, and where all points have the same false positive rate.
    """
    pixels, anomalous = _maps_and_masks(maps, masks)
    return _aupro_paper(_rank(pixels, anomalous, _overlap_shares(anomalous)))


class _Ranking(NamedTuple):
    """How P anomalous scores, K of them distinct, lie among Q normal ones; ascending throughout.

    Attributes:
        normal: (Q,), scores.
        anomalous: (P,), scores.
        overlap: (P,), mean per-region overlap of the anomalous scores from here up.
        first: (K,), where each distinct anomalous score first stands in `anomalous`.
        false_positives: (K,), normal scores that reach this anomalous score.
        false_positives_above: (K,), normal scores that exceed it.
    """

    normal: _Floats
    anomalous: _Floats
    overlap: _Float64s
    first: _Counts
    false_positives: _Counts
    false_positives_above: _Counts

    @property
    def defined(self) -> bool:
        return len(self.normal) > 0 and len(self.anomalous) > 0

    @property
    def true_positives(self) -> _Counts:
        return len(self.anomalous) - self.first

    @property
    def group_sizes(self) -> _Counts:
        return np.diff(self.first, append=len(self.anomalous))


def _rank(scores: _Floats, labels: _Bools, shares: _Float64s | None = None) -> _Ranking:
    # Sorting values is several times faster than sorting indices, which only the few anomalous
    # scores need, and they only for the regions that they belong to.
    normal = scores[~labels]
    normal.sort()
    anomalous = scores[labels]
    if shares is None:
        anomalous.sort()
        overlap: _Float64s = np.empty(0)
    else:
        order = np.argsort(anomalous)
        anomalous = anomalous[order]
        overlap = np.cumsum(shares[order][::-1])[::-1]
        overlap /= overlap[:1]  # the sum is the number of regions, but for rounding

    starts = np.ones(len(anomalous), dtype=bool)
    np.not_equal(anomalous[1:], anomalous[:-1], out=starts[1:])
    first = np.flatnonzero(starts)
    thresholds = anomalous[first]
    return _Ranking(
        normal=normal,
        anomalous=anomalous,
        overlap=overlap,
        first=first,
        false_positives=len(normal) - np.searchsorted(normal, thresholds, side="left"),
        false_positives_above=len(normal) - np.searchsorted(normal, thresholds, side="right"),
    )


def _overlap_shares(anomalous: _Bools) -> _Float64s:
    """Give what each anomalous pixel adds to the overlap with its region: 1 / area."""
    with_regions = anomalous[anomalous.any(axis=(1, 2))]
    if len(with_regions) == 0:
        return np.empty(0)
    regions, _ = ndimage.label(with_regions, structure=_NEIGHBOURS)
    region = regions[with_regions]
    result: _Float64s = 1.0 / np.bincount(region)[region]
    return result


def _auroc(ranking: _Ranking) -> float:
    if not ranking.defined:
        return float("nan")
    # Normal scores below an anomalous one, those that tie counted by half; twice that, in integers.
    false_positives = ranking.false_positives + ranking.false_positives_above
    wins = np.sum(ranking.group_sizes * (2 * len(ranking.normal) - false_positives))
    return float(wins / (2 * len(ranking.normal) * len(ranking.anomalous)))


def _average_precision(ranking: _Ranking) -> float:
    if not ranking.defined:
        return float("nan")
    precision = ranking.true_positives / (ranking.true_positives + ranking.false_positives)
    return float(np.sum(precision * ranking.group_sizes) / len(ranking.anomalous))


def _f1_max(ranking: _Ranking) -> float:
    if not ranking.defined:
        return float("nan")
    # A threshold between anomalous scores adds only false positives: none beats these.
    positives = ranking.true_positives + ranking.false_positives
    return float(np.max(2 * ranking.true_positives / (positives + len(ranking.anomalous))))


def _aupro(ranking: _Ranking) -> float:
    if not ranking.defined:
        return float("nan")
    # The overlap rises only at an anomalous score; between two of them the curve is level, so just
    # before and at each of them are all its corners.
    corners = 2 * len(ranking.first)
    fpr = np.empty(corners + 2)
    fpr[0], fpr[-1] = 0.0, 1.0
    fpr[1:-1:2] = ranking.false_positives_above[::-1] / len(ranking.normal)
    fpr[2:-1:2] = ranking.false_positives[::-1] / len(ranking.normal)
    pro = np.zeros(corners + 2)
    pro[2::2] = pro[3::2] = ranking.overlap[ranking.first][::-1]

    end = int(np.searchsorted(fpr, _FPR_LIMIT))
    pro[end] = np.interp(_FPR_LIMIT, fpr[end - 1 : end + 1], pro[end - 1 : end + 1])
    fpr[end] = _FPR_LIMIT
    return _trapezoid(fpr[: end + 1], pro[: end + 1]) / _FPR_LIMIT


def _aupro_paper(ranking: _Ranking) -> float:
    if not ranking.defined:
        return float("nan")
    low = float(min(ranking.normal[0], ranking.anomalous[0]))
    high = float(max(ranking.normal[-1], ranking.anomalous[-1]))
    step = np.arange(_PAPER_THRESHOLDS) / _PAPER_THRESHOLDS
    # Halved so that no range overflows; in the maps' precision, as the authors'.
    thresholds = 2 * (low / 2 + step * (high / 2 - low / 2))
    thresholds = thresholds.astype(ranking.normal.dtype)

    above = len(ranking.normal) - np.searchsorted(ranking.normal, thresholds, side="right")
    fpr = above / len(ranking.normal)
    first = np.searchsorted(ranking.anomalous, thresholds, side="right")
    pro = np.append(ranking.overlap, 0.0)[first]

    kept = fpr < _FPR_LIMIT
    fpr, pro = fpr[kept][::-1], pro[kept][::-1]
    if len(fpr) < 3:
        return 0.5
    if fpr[0] == fpr[-1]:
        return float("nan")
    return _trapezoid((fpr - fpr[0]) / (fpr[-1] - fpr[0]), pro)


def _trapezoid(x: _Float64s, y: _Float64s) -> float:
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)


def _maps_and_masks(maps: Array, masks: Array) -> tuple[_Floats, _Bools]:
    check_maps(tuple(maps.shape), tuple(masks.shape))
    return _scores(maps, "maps"), _labels(masks)


def _scores_and_labels(scores: Array, labels: Array) -> tuple[_Floats, _Bools]:
    if tuple(scores.shape) != tuple(labels.shape):
        raise ValueError(
            f"scores have shape {tuple(scores.shape)} and labels {tuple(labels.shape)}: "
            "give one label a score."
        )
    return _scores(scores, "scores"), _labels(labels)


def _scores(values: Array, name: str) -> _Floats:
    if isinstance(values, Tensor):
        values = values.detach()
        # NumPy has no bfloat16.
        values = (values if values.dtype == torch.float64 else values.float()).cpu().numpy()
    scores: _Floats = values.astype(np.promote_types(values.dtype, np.float32), copy=False)
    finite = np.isfinite(scores)
    if not finite.all():
        nans = int(np.isnan(scores).sum())
        infinite = int(scores.size - finite.sum()) - nans
        first = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"{name} hold {nans} NaN and {infinite} infinite scores among {scores.size}, the first "
            f"at {first}: scores must be finite. Look for a division by zero or a half-precision "
            "overflow in the method, or leave these images out."
        )
    return scores


def _labels(values: Array) -> _Bools:
    if isinstance(values, Tensor):
        values = values.to(torch.bool).cpu().numpy()
    labels: _Bools = values.astype(np.bool_, copy=False)
    return labels


def check_maps(maps: tuple[int, ...], masks: tuple[int, ...]) -> None:
    """Refuse shapes of maps and masks that are not (N, H, W) and the same, with a ValueError."""
    if maps != masks or len(maps) != 3:
        raise ValueError(
            f"maps have shape {maps} and masks {masks}: give both as (N, H, W); squeeze out a "
            "channel dimension, and resize the maps to the masks."
        )
    if maps[1] * maps[2] == 0:
        raise ValueError(f"maps and masks of shape {maps} have no pixels: give H and W above 0.")


def check_per_image(images: int, shape: tuple[int, ...], name: str) -> None:
    """Refuse a shape that is not (images,), with a ValueError."""
    if shape != (images,):
        raise ValueError(
            f"{name} have shape {shape} for {images} maps: give one value a map, in shape "
            f"({images},)."
        )
