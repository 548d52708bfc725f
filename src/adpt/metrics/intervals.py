"""Intervals of metrics over resamples of the test images (percentile bootstrap)."""

from collections.abc import Iterator, Sequence

import numpy as np

from adpt.metrics.arrays import Bools, Floats
from adpt.metrics.base import Metric, RankedMetric
from adpt.metrics.exact import ranked_metrics
from adpt.metrics.ranking import Counts, Float64s, Ranking, Rankings, overlap_shares
from adpt.metrics.scored import Scored

RESAMPLES = 1000
LEVEL = 0.95
_EDGES = 1000
"""Groups that scores of pixels are counted in at most."""
_AT_ONCE = 50


def intervals(
    scored: Scored, metrics: Sequence[Metric] = (), resamples: int = RESAMPLES
) -> dict[str, tuple[float, float]]:
    """The interval that holds the middle 95 % of what resamples of the images give.

    A resample draws as many normal and as many anomalous images as there are, each with return; it
    is the same for all that is measured of the same images. Image metrics are exact, pixels are
    grouped by score: where there are more than a thousand distinct anomalous scores, these are told
    apart at a thousand of them, evenly over anomalous and over the logarithm of normal pixels.

    Args:
        scored: The test images.
        metrics: Those beside the seven.
        resamples: How many.

    Returns:
        Low and high by the metric's name; what resamples do not define, or a metric does not tell,
        is left out.
    """
    weights = resampled_images(scored.labels, resamples)
    ranked = [ranked_metrics, *(m.of_rankings for m in metrics if isinstance(m, RankedMetric))]
    rows = [
        {name: value for measure in ranked for name, value in measure(rankings).items()}
        for rankings in resampled_rankings(scored, weights)
    ]
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    for metric in metrics:
        values |= metric.resampled(scored, weights)
    ends = 50 * (1 - LEVEL), 50 * (1 + LEVEL)
    return {
        name: (float(low), float(high))
        for name, found in values.items()
        if len(known := found[~np.isnan(found)])
        for low, high in [np.percentile(known, ends)]
    }


def resampled_images(labels: Bools, resamples: int) -> Counts:
    """(R, N), how often each image stands in each resample."""
    rng = np.random.default_rng(0)
    weights = np.zeros((resamples, len(labels)), np.int64)
    for kind in (labels, ~labels):
        if count := int(kind.sum()):
            weights[:, kind] = rng.multinomial(count, np.full(count, 1 / count), resamples)
    return weights


def resampled_rankings(scored: Scored, weights: Counts) -> Iterator[Rankings]:
    """The rankings of each resample, pixels in groups."""
    edges = _all_edges(scored.rankings.image)
    groups = np.searchsorted(edges, scored.image_scores, "right")
    counted = _count_pixels(scored)
    nowhere: Float64s = np.empty(0)
    for start in range(0, len(weights), _AT_ONCE):
        some = weights[start : start + _AT_ONCE]
        anomalous, normal, shares = (some @ counts for counts in counted)
        for row, how_often in enumerate(some):
            of_kind = [
                np.bincount(groups[kind], how_often[kind], len(edges) + 1).astype(np.float64)
                for kind in (scored.labels, ~scored.labels)
            ]
            pixel = _ranking(anomalous[row], normal[row], shares[row])
            yield Rankings(_ranking(of_kind[0], of_kind[1], nowhere), pixel)


def _count_pixels(scored: Scored) -> tuple[Float64s, Float64s, Float64s]:
    """(N, groups) of each image: anomalous and normal pixels, and shares of its regions."""
    edges = _edges(scored.rankings.pixel)
    counts = np.zeros((3, len(scored), len(edges) + 1))
    if scored.masks is not None:
        for number, (scores, mask) in enumerate(zip(scored.maps, scored.masks, strict=True)):
            groups = np.searchsorted(edges, scores, "right")
            marked, size = groups[mask], len(edges) + 1
            counts[0, number] = np.bincount(marked, minlength=size)
            counts[1, number] = np.bincount(groups[~mask], minlength=size)
            counts[2, number] = np.bincount(marked, overlap_shares(mask[None]), size)
    return counts[0], counts[1], counts[2]


def _edges(ranking: Ranking) -> Floats:
    """Scores at which groups begin, ascending."""
    if 2 * len(ranking.thresholds) <= _EDGES:
        return _all_edges(ranking)
    half = _EDGES // 2
    evenly = np.linspace(ranking.positives, 1, half)
    steps = np.geomspace(ranking.negatives, 1, half)
    last = len(ranking.thresholds) - 1
    chosen = [
        np.searchsorted(-ranking.true_positives, -evenly),
        np.searchsorted(-ranking.false_positives, -steps).clip(max=last),
    ]
    edges: Floats = ranking.thresholds[np.unique(np.concatenate(chosen))]
    return edges


def _all_edges(ranking: Ranking) -> Floats:
    """Each anomalous score begins a group of its own, and so does what exceeds it."""
    exceeding = np.nextafter(ranking.thresholds, ranking.thresholds.dtype.type(np.inf))
    edges: Floats = np.union1d(ranking.thresholds, exceeding)
    return edges


def _ranking(anomalous: Float64s, normal: Float64s, shares: Float64s) -> Ranking:
    """Groups of scores, ascending, as a ranking of as many distinct scores."""
    kept = anomalous > 0
    reached = np.cumsum(normal[::-1])[::-1]
    overlap = np.cumsum(shares[::-1])[::-1]
    return Ranking(
        thresholds=np.flatnonzero(kept).astype(np.float64),
        true_positives=np.cumsum(anomalous[::-1])[::-1][kept].astype(np.int64),
        false_positives=reached[kept].astype(np.int64),
        false_positives_above=(reached - normal)[kept].astype(np.int64),
        overlap=overlap[kept] / overlap[0] if len(shares) else shares,
        positives=int(anomalous.sum()),
        negatives=int(normal.sum()),
    )
