"""Intervals over resamples: against images that really stand there again, and what they cover."""

import numpy as np
import pytest

from adpt.metrics import (
    Aupimo,
    Aupro,
    IoUMax,
    MeanOfSeven,
    Metric,
    Scored,
    SegF1,
    anomaly_metrics,
    ranked_metrics,
)
from adpt.metrics.intervals import intervals, resampled_images, resampled_rankings
from test_further_metrics import example, scored

METRICS: list[Metric] = [Aupro(0.05), IoUMax(), MeanOfSeven(), SegF1(0.5), Aupimo(5e-3, 0.1)]


def repeated(images: Scored, how_often: np.ndarray) -> Scored:
    rows = np.repeat(np.arange(len(images)), how_often)
    assert images.masks is not None
    return Scored(
        np.asarray(images.maps)[rows],
        np.asarray(images.masks)[rows],
        images.labels[rows],
        images.image_scores[rows],
    )


@pytest.mark.parametrize("scale", ["plain", "ties", "constant"])
def test_a_resample_is_its_images_so_often(scale: str) -> None:
    images = example(scale)
    weights = resampled_images(images.labels, 20)
    further = [metric.resampled(images, weights) for metric in METRICS]
    for row, rankings in enumerate(resampled_rankings(images, weights)):
        again = repeated(images, weights[row])
        assert ranked_metrics(rankings) == pytest.approx(ranked_metrics(again.rankings), rel=1e-9)
        assert IoUMax().of_rankings(rankings) == pytest.approx(IoUMax().measure(again))
        for metric, found in zip(METRICS, further, strict=True):
            for name, values in found.items():
                assert values[row] == pytest.approx(metric.measure(again)[name], rel=1e-9)


def test_groups_of_pixels_shift_little() -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((12, 64, 64), bool)
    masks[6:, 20:40, 20:40] = True
    images = scored((rng.normal(size=masks.shape) + 1.2 * masks).astype(np.float32), masks)
    weights = resampled_images(images.labels, 8)
    for row, rankings in enumerate(resampled_rankings(images, weights)):
        assert len(rankings.pixel.thresholds) < len(images.rankings.pixel.thresholds) / 2
        expected = ranked_metrics(repeated(images, weights[row]).rankings)
        assert ranked_metrics(rankings) == pytest.approx(expected, abs=1e-3)


def test_resamples_keep_the_numbers_of_normal_and_of_anomalous_images() -> None:
    labels = np.array([False] * 5 + [True] * 8)
    weights = resampled_images(labels, 100)
    assert (weights[:, labels].sum(1) == 8).all()
    assert (weights[:, ~labels].sum(1) == 5).all()
    np.testing.assert_array_equal(weights, resampled_images(labels, 100))


def test_an_interval_holds_the_middle_of_what_resamples_give() -> None:
    images = example(images=10)
    found = intervals(images, METRICS, resamples=200)
    values = ranked_metrics(images.rankings)
    for metric in METRICS:
        values |= metric.measure(images)
    assert set(found) == set(values)
    rows = [
        ranked_metrics(r) for r in resampled_rankings(images, resampled_images(images.labels, 200))
    ]
    for name in rows[0]:
        expected = np.percentile([row[name] for row in rows], [2.5, 97.5])
        assert found[name] == pytest.approx(tuple(expected))
    for name, (low, high) in found.items():
        assert low <= high, name


def test_the_image_auroc_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Normal distributions a standard deviation apart: the AUROC is 0.760; 95 % of 60 are 57."""
    rng = np.random.default_rng(0)
    labels = np.arange(80) >= 40
    covered = 0
    for _ in range(60):
        scores = rng.normal(size=80) + labels
        images = Scored(np.zeros((80, 1, 1)), None, labels, scores)
        low, high = intervals(images, resamples=100)["image_auroc"]
        covered += low <= 0.7602 <= high
    assert covered >= 51


def test_undefined_metrics_have_no_interval() -> None:
    maps = np.asarray(example().maps)
    unmarked = Scored(maps, None, np.arange(6) > 2, maps.max(axis=(1, 2)))
    assert set(intervals(unmarked, METRICS, 20)) == {"image_auroc", "image_ap", "image_f1max"}
    alone = Scored(maps, None, np.zeros(6, bool), maps.max(axis=(1, 2)))
    assert intervals(alone, METRICS, 20) == {}


def test_a_metric_that_tells_nothing_of_resamples_has_no_interval() -> None:
    class Half(Metric):
        names = ("image_half",)

        def measure(self, scored: Scored) -> dict[str, float]:
            return {"image_half": 0.5}

    assert "image_half" not in intervals(example(), [Half()], 10)


def test_figures_without_resamples_are_those_of_the_metrics() -> None:
    images = example("ties")
    rankings = next(resampled_rankings(images, images.each_once))
    expected = anomaly_metrics(np.asarray(images.maps), np.asarray(images.masks))
    assert ranked_metrics(rankings) == pytest.approx(expected)
