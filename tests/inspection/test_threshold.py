"""Thresholds against literal versions: count, don't sort."""

import logging
import math

import numpy as np
import pytest

from adpt.errors import UserError
from adpt.inspection.threshold import (
    Threshold,
    ThresholdPolicy,
    folds_of,
    from_labels,
    from_quantile,
    from_rate,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("count", [1, 2, 19, 99, 100, 101, 250])
@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99, 1.0])
def test_a_quantile_is_the_lowest_score_that_enough_do_not_exceed(rng, count, quantile) -> None:
    scores = rng.normal(size=count).round(1)
    enough = [s for s in scores if sum(scores <= s) >= quantile * count - 1e-9]
    assert from_quantile(scores, quantile, "x").value == min(enough)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.5])
@pytest.mark.parametrize("count", [3, 9, 10, 98, 99, 100, 400])
def test_a_rate_is_kept_by_every_score_of_one_more_than_there_are(rng, rate, count) -> None:
    """Of n + 1 scores each in turn is the new one: at most a share `rate` exceeds its threshold."""
    scores = rng.normal(size=count + 1)
    exceeded = sum(
        scores[i] > from_rate(np.delete(scores, i), rate, "x").value for i in range(count + 1)
    )
    supported = count + 1 >= 1 / rate - 1e-9
    assert exceeded == (math.floor(rate * (count + 1) + 1e-9) if supported else 1)


def test_too_few_images_are_told_with_how_many_it_takes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        few = from_rate(np.arange(20), 0.01, "each left out in turn")
    assert few.value == 19
    assert "about 1 normal image in 21 exceeds it" in few.origin
    assert "it takes 99" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert from_rate(np.arange(99), 0.01, "x").value == 98
    assert not caplog.records


def test_no_threshold_has_a_larger_f1_score_than_the_chosen(rng) -> None:
    for _ in range(50):
        normal, anomalous = rng.normal(size=12).round(1), rng.normal(1, 1, size=7).round(1)

        def f1(threshold: float, normal=normal, anomalous=anomalous) -> float:
            found, false = sum(anomalous > threshold), sum(normal > threshold)
            return 2 * found / (found + false + len(anomalous))

        value = from_labels(normal, anomalous, "x").value
        scores = np.concatenate([normal, anomalous])
        assert value not in scores
        assert f1(value) == max(f1(t) for t in [scores.min() - 1, *scores])


def test_parted_scores_are_parted_in_the_middle() -> None:
    found = from_labels([1, 2, 3], [5, 6], "x")
    assert found.value == 4
    assert found.origin.startswith("largest F1 score, 1.000, on 3 normal and 2 anomalous images")


def test_a_share_that_floats_make_larger_takes_no_further_score() -> None:
    assert 0.07 * 100 > 7
    assert from_quantile(range(1, 101), 0.07, "x").value == 7


def test_where_all_are_best_taken_for_anomalous_the_threshold_lies_below_them() -> None:
    found = from_labels([2], [1, 3], "x")
    assert found.value < 1
    assert "finds 2 of the anomalous and takes 1 of the normal" in found.origin


def test_of_thresholds_with_one_f1_score_the_highest_is_taken() -> None:
    # Both anomalous images with two normal ones, or one with none: 2/3 either way.
    assert from_labels([3, 3.5], [2, 4], "x").value == 3.75


@pytest.mark.parametrize("steps", range(4))
def test_neighbouring_numbers_are_parted(steps: int) -> None:
    lower = 1 + steps * np.finfo(float).eps
    upper = float(np.nextafter(lower, 2))
    assert lower <= from_labels([lower], [upper], "x").value < upper


@pytest.mark.parametrize(
    ("count", "folds", "parts"),
    [(2, None, 2), (10, None, 10), (50, None, 10), (51, None, 5), (7, 3, 3), (3, 9, 3)],
)
def test_each_image_is_left_out_once_and_neighbours_together(count, folds, parts) -> None:
    found = folds_of(count, folds)
    assert len(found) == parts
    assert [row for part in found for row in part] == list(range(count))


@pytest.mark.parametrize(
    "options",
    [
        {"quantile": 0},
        {"quantile": 1.1},
        {"quantile": True},
        {"false_positive_rate": 1},
        {"false_positive_rate": 0},
        {"folds": 1},
        {"value": math.nan},
        {"value": "12"},
    ],
)
def test_values_out_of_range_are_refused(options) -> None:
    with pytest.raises(UserError, match="must be"):
        ThresholdPolicy(**options)


def test_two_ways_contradict_each_other_and_where_the_scores_come_from_is_none() -> None:
    with pytest.raises(UserError, match="false_positive_rate and threshold contradict"):
        ThresholdPolicy(false_positive_rate=0.1, value=3)
    ThresholdPolicy(false_positive_rate=0.1, good_test="good", folds=3)


def test_a_policy_finds_the_threshold_in_its_way(rng) -> None:
    good, bad = rng.normal(size=200), rng.normal(3, 1, size=20)
    assert ThresholdPolicy().find(good, "x") == from_quantile(good, 0.99, "x")
    assert ThresholdPolicy(quantile=0.5).find(good, "x") == from_quantile(good, 0.5, "x")
    by_rate = ThresholdPolicy(false_positive_rate=0.05).find(good, "x")
    assert by_rate == from_rate(good, 0.05, "x")
    by_labels = ThresholdPolicy(defects="bad").find(good, "x", bad)
    assert by_labels == from_labels(good, bad, "x")
    assert ThresholdPolicy(value=2).find(good, "x") == Threshold(2.0, "given by the user")
