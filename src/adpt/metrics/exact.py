"""Image and pixel AUROC, AP, F1-max and AUPRO, exact for scores of any range."""

from collections.abc import Callable

import numpy as np

from adpt.metrics.arrays import Array, maps_and_masks, scores_and_labels
from adpt.metrics.ranking import Float64s, Ranking, Rankings, rank, rank_maps, rank_pixels

_FPR_LIMIT = 0.3
_PAPER_THRESHOLDS = 200


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
    return ranked_metrics(
        rank_maps(maps, masks, image_scores, labels=labels), paper_aupro=paper_aupro
    )


def ranked_metrics(rankings: Rankings, *, paper_aupro: bool = False) -> dict[str, float]:
    """The same of what is ranked already, see `rank_maps`."""
    curves = {"auroc": _auroc, "ap": _average_precision, "f1max": _f1_max}
    regions = {"aupro": _aupro} | ({"aupro_paper": _aupro_paper} if paper_aupro else {})
    image = {f"image_{name}": _value(f, rankings.image) for name, f in curves.items()}
    both = curves | regions
    return image | {f"pixel_{name}": _value(f, rankings.pixel) for name, f in both.items()}


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
    return _value(_auroc, rank(*scores_and_labels(scores, labels)))


def average_precision(scores: Array, labels: Array) -> float:
    """Compute the average precision: precision summed over the steps of recall.

    Arguments, result and errors as in `auroc`.
    """
    return _value(_average_precision, rank(*scores_and_labels(scores, labels)))


def f1_max(scores: Array, labels: Array) -> float:
    """Compute the best F1 score that any threshold reaches.

    Arguments, result and errors as in `auroc`.
    """
    return _value(_f1_max, rank(*scores_and_labels(scores, labels)))


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
    return _value(_aupro, rank_pixels(*maps_and_masks(maps, masks)))


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
    return _value(_aupro_paper, rank_pixels(*maps_and_masks(maps, masks)))


def _value(metric: Callable[[Ranking], float], ranking: Ranking) -> float:
    return metric(ranking) if ranking.defined else float("nan")


def _auroc(ranking: Ranking) -> float:
    # Normal scores below an anomalous one, those that tie counted by half; twice that, in integers.
    false_positives = ranking.false_positives + ranking.false_positives_above
    wins = np.sum(ranking.group_sizes * (2 * ranking.negatives - false_positives))
    return float(wins / (2 * ranking.negatives * ranking.positives))


def _average_precision(ranking: Ranking) -> float:
    precision = ranking.true_positives / (ranking.true_positives + ranking.false_positives)
    return float(np.sum(precision * ranking.group_sizes) / ranking.positives)


def _f1_max(ranking: Ranking) -> float:
    # A threshold between anomalous scores adds only false positives: none beats these.
    reached = ranking.true_positives + ranking.false_positives
    return float(np.max(2 * ranking.true_positives / (reached + ranking.positives)))


def name_of_limit(limit: float) -> str:
    """A false positive rate as metrics' names have it: 05 for 0.05, and full for 1.

    Raises:
        ValueError: It is not above 0 and at most 1.
    """
    if not 0 < limit <= 1:
        raise ValueError(f"limit is {limit}: give a false positive rate above 0, at most 1.")
    return "full" if limit == 1 else f"{limit:.10f}".rstrip("0").partition(".")[2].ljust(2, "0")


def area_below_overlap(ranking: Ranking, limit: float) -> float:
    """Area below the PRO curve up to a false positive rate, divided by that; see `aupro`."""
    # The overlap rises only at an anomalous score; between two of them the curve is level, so just
    # before and at each of them are all its corners.
    corners = 2 * len(ranking.thresholds)
    fpr = np.empty(corners + 2)
    fpr[0], fpr[-1] = 0.0, 1.0
    fpr[1:-1:2] = ranking.false_positives_above[::-1] / ranking.negatives
    fpr[2:-1:2] = ranking.false_positives[::-1] / ranking.negatives
    pro = np.zeros(corners + 2)
    pro[2::2] = pro[3::2] = ranking.overlap[::-1]

    end = int(np.searchsorted(fpr, limit))
    pro[end] = np.interp(limit, fpr[end - 1 : end + 1], pro[end - 1 : end + 1])
    fpr[end] = limit
    return _trapezoid(fpr[: end + 1], pro[: end + 1]) / limit


def _aupro(ranking: Ranking) -> float:
    return area_below_overlap(ranking, _FPR_LIMIT)


def _aupro_paper(ranking: Ranking) -> float:
    return stretched_area(ranking, ranking, fewest=3, otherwise=0.5)


def stretched_area(ranking: Ranking, overlapping: Ranking, fewest: int, otherwise: float) -> float:
    """Area below the approximate PRO curve, its false positive rates stretched to [0, 1].

    Args:
        ranking: Of the pixels; gives thresholds and false positive rates.
        overlapping: Gives the overlap, from the same maps or from dilated ones.
        fewest: Points that a curve has at least.
        otherwise: What fewer are worth.
    """
    if ranking.normal is None:
        return float("nan")
    low = float(min(ranking.normal[0], ranking.thresholds[0]))
    high = float(max(ranking.normal[-1], ranking.thresholds[-1]))
    step = np.arange(_PAPER_THRESHOLDS) / _PAPER_THRESHOLDS
    # Halved so that no range overflows; in the maps' precision, as the authors'.
    thresholds = 2 * (low / 2 + step * (high / 2 - low / 2))
    thresholds = thresholds.astype(ranking.normal.dtype)

    above = len(ranking.normal) - np.searchsorted(ranking.normal, thresholds, side="right")
    fpr = above / len(ranking.normal)
    first = np.searchsorted(overlapping.thresholds, thresholds, side="right")
    pro = np.append(overlapping.overlap, 0.0)[first]

    kept = fpr < _FPR_LIMIT
    fpr, pro = fpr[kept][::-1], pro[kept][::-1]
    if len(fpr) < fewest:
        return otherwise
    if fpr[0] == fpr[-1]:
        return float("nan")
    return _trapezoid((fpr - fpr[0]) / (fpr[-1] - fpr[0]), pro)


def _trapezoid(x: Float64s, y: Float64s) -> float:
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)
