"""Thresholds against literal versions: count, don't sort."""

import logging
import math

import numpy as np
import pytest
from scipy import stats

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


def lognormal(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.exp(rng.normal(3, 0.2, size=count))


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("count", [30, 100, 400])
def test_further_good_images_exceed_a_threshold_as_often_as_asked(rng, rate, count) -> None:
    thresholds = [from_rate(lognormal(rng, count), rate, "x").value for _ in range(400)]
    exceeded = stats.norm.sf(np.log(thresholds), 3, 0.2).mean()
    assert exceeded == pytest.approx(rate, rel=0.35)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 98])
def test_of_one_more_image_than_there_are_one_at_least_exceeds_the_others(rng, rate, count) -> None:
    """Each in turn is the new one: the threshold is not above the others' highest score."""
    scores = rng.normal(size=count + 1)
    others = [np.delete(scores, i) for i in range(count + 1)]
    found = [from_rate(rest, rate, "x").value for rest in others]
    assert all(value <= rest.max() for value, rest in zip(found, others, strict=True))
    assert sum(scores > found) >= 1


def test_a_bad_image_among_the_good_hardly_moves_the_threshold(rng) -> None:
    good = lognormal(rng, 40)
    before = from_rate(good, 0.05, "x").value
    assert from_rate([*good, 1e6], 0.05, "x").value == pytest.approx(before, rel=0.02)
    assert from_quantile([*good, 1e6], 0.99, "x").value == 1e6


@pytest.mark.parametrize("scores", [[4.0] * 6, [0.0] * 5 + [3.0], [0.1] * 9, [7.0]])
def test_equal_scores_do_not_exceed_their_threshold(scores: list[float]) -> None:
    found = from_rate(scores, 0.05, "x")
    assert not np.any(np.array(scores) > found.value) or scores[0] == 0
    assert (np.array(scores) > found.value).mean() <= 0.2


def test_a_threshold_says_what_it_means_for_the_images(rng) -> None:
    good = lognormal(rng, 100)
    found = from_rate(good, 0.05, "x")
    assert found.origin == (
        "estimated false-positive rate of 5 % from 100 normal images (x),"
        f" {sum(good > found.value)} of which exceed it"
    )


def test_too_few_images_are_told_with_how_many_it_takes(caplog: pytest.LogCaptureFixture) -> None:
    policy = ThresholdPolicy(false_positive_rate=0.01)
    with caplog.at_level(logging.WARNING):
        few = policy.find(np.arange(20), "each left out in turn")
        assert "it takes 99" in caplog.text
        ThresholdPolicy(quantile=0.95).find(np.arange(18), "x")
        assert "quantile=0.95 cannot be judged from 18 normal images, it takes 19" in caplog.text
    assert few.value == 19
    assert "about 1 normal image in 21 exceeds it" in few.origin
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        policy.find(np.arange(99), "x")
        ThresholdPolicy().find(np.arange(19), "x")
        ThresholdPolicy(value=3).find([1, 2], "x")
        ThresholdPolicy(defects="bad").find([1, 2], "x", [4])
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
    assert ThresholdPolicy().find(good, "x") == from_rate(good, 0.05, "x")
    assert ThresholdPolicy(quantile=0.99).find(good, "x") == from_quantile(good, 0.99, "x")
    assert ThresholdPolicy(quantile=0.5).find(good, "x") == from_quantile(good, 0.5, "x")
    by_rate = ThresholdPolicy(false_positive_rate=0.1).find(good, "x")
    assert by_rate == from_rate(good, 0.1, "x")
    by_labels = ThresholdPolicy(defects="bad").find(good, "x", bad)
    assert by_labels == from_labels(good, bad, "x")
    assert ThresholdPolicy(value=2).find(good, "x") == Threshold(2.0, "given by the user")


def literal(scores: list[float], rate: float) -> float:
    """The rule as its docstring says it."""
    n, high, logs = len(scores), sorted(scores, reverse=True), np.log(scores)
    middle = float(np.median(logs))
    spread = 1.4826 * float(np.median([abs(value - middle) for value in logs]))
    if not spread:
        middle, spread = float(np.mean(logs)), float(np.std(logs, ddof=1))
    limit = math.exp(middle + stats.t.isf(rate, n - 1) * spread * math.sqrt(1 + 1 / n))
    promising = [k for k in range(1, n + 1) if k / (n + 1) <= rate + 1e-12]
    thrice = [k for k in range(1, n + 1) if k / (n + 1) <= 3 * rate + 1e-12]
    if len(thrice) >= 2:
        limit = max(limit, high[max(thrice) - 1])
    return min(limit, high[max(promising, default=1) - 1])


def sampled(generator: np.random.Generator, sample: str, size: int) -> np.ndarray:
    values = generator.normal(10, 1, size)
    if sample == "lognormal":
        return np.exp(values)
    return values + 20 * (generator.random(size) < 0.4) if sample == "two kinds" else values


@pytest.mark.parametrize("count", [2, 9, 12, 13, 19, 20, 38, 39, 60, 200])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("sample", ["normal", "lognormal", "two kinds"])
def test_limit_by_rate_is_the_literal_one(rng, count: int, rate: float, sample: str) -> None:
    scores = sampled(rng, sample, count)
    assert from_rate(scores, rate, "").value == pytest.approx(literal(list(scores), rate))


@pytest.mark.parametrize("count", [19, 40, 100])
@pytest.mark.parametrize("sample", ["normal", "lognormal", "two kinds"])
def test_false_alarms_are_bounded_whatever_the_distribution(rng, count: int, sample: str) -> None:
    above = [
        (sampled(rng, sample, 200) > from_rate(sampled(rng, sample, count), 0.05, "").value).mean()
        for _ in range(200)
    ]
    assert 0.03 < np.mean(above) < (0.16 if sample == "two kinds" else 0.09)


def test_what_is_told_is_how_many_exceed_it() -> None:
    # Two kinds of good images: their middle and spread say nothing of either.
    scores = np.where(np.arange(60) % 2, 300.0, 100.0) + np.arange(60) / 10
    found = from_rate(scores, 0.05, "tested")
    assert found.value == np.sort(scores)[-3]
    assert found.origin.endswith("2 of which exceed it")
    few = from_rate(scores[:18], 0.05, "")
    assert "their highest score: about 1 normal image in 19" in few.origin


@pytest.mark.parametrize(("rate", "fewest"), [(0.05, 13), (0.01, 66), (0.1, 6)])
def test_a_threshold_that_nothing_bounds_from_below_says_so(rate: float, fewest: int) -> None:
    said = f"nothing bounds it from below, which takes {fewest} images"
    for count in (fewest - 1, fewest):
        # One far above the others, which a limit from their middle leaves beyond it.
        found = from_rate([*np.linspace(1, 1.01, count - 1), 90.0], rate, "x")
        assert found.value < 90
        assert (said in found.origin) == (count < fewest)
