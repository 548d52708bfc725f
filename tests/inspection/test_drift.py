"""The notice that scores of images taken for good have moved."""

from dataclasses import replace

import numpy as np
import pytest

from adpt.inspection import Inspection, UnreadImage
from adpt.inspection.drift import Drift, DriftRule, Drifts
from adpt.inspection.limits import GoodScores

EMPTY = np.zeros((1, 1), np.float32)


def image(score: float, threshold: float = 1e9) -> Inspection:
    return Inspection("x.png", score, score > threshold, threshold, EMPTY)


def scores(middle: float, count: int, seed: int) -> list[float]:
    return np.exp(np.random.default_rng(seed).normal(np.log(middle), 0.1, count)).tolist()


GOOD = GoodScores.robust(scores(10, 40, 0))


def seen(values: list[float], rule: DriftRule | None = None) -> tuple[Drift, list[int]]:
    drift = Drift(rule or DriftRule(), GOOD)
    due = [number for number, value in enumerate(values, start=1) if drift.add(image(value))]
    return drift, due


def test_scores_as_at_the_fit_are_no_drift() -> None:
    false = sum(bool(seen(scores(10, 200, seed))[1]) for seed in range(40))
    assert false <= 4


@pytest.mark.parametrize(("middle", "way"), [(12.0, "higher"), (8.0, "lower")])
def test_scores_that_move_are_noticed_once(middle: float, way: str) -> None:
    drift, due = seen(scores(10, 60, 1) + scores(middle, 60, 2))
    (number,) = due
    assert 60 < number < 100
    assert drift.since == number
    assert f"at image {number}" in drift.notice
    assert f"standard errors {way} than at the fit" in drift.notice
    assert "add=<folder>" in drift.notice


def test_scores_that_come_back_are_said_to_be_back() -> None:
    drift, due = seen(scores(10, 40, 1) + scores(14, 40, 2) + scores(10, 60, 3))
    assert len(due) == 1
    assert drift.notice.endswith("They are back within what is usual.")


def test_the_value_is_in_standard_errors_of_a_median() -> None:
    values = scores(11, 30, 4)
    drift, _ = seen(values)
    error = np.sqrt(np.pi / 2) * GOOD.spread * np.sqrt(1 / 30 + 1 / GOOD.count)
    assert drift.value == pytest.approx((np.log(np.median(values)) - GOOD.middle) / error, abs=0.1)


def test_anomalous_and_unread_images_do_not_count_and_few_say_nothing() -> None:
    drift = Drift(DriftRule(window=5), GOOD)
    for _ in range(20):
        drift.add(image(1000.0, threshold=20.0))
        drift.add(UnreadImage("x.png", "gone"))
    for _ in range(4):
        drift.add(image(10.0))
    assert (drift.value, drift.notice) == (None, "")
    drift.add(image(10.0))
    assert drift.value is not None
    # Of an inspector of before, nothing is known.
    unknown = Drift(DriftRule(window=5), None)
    assert not any(unknown.add(image(1000.0)) for _ in range(9))
    assert unknown.value is None


@pytest.mark.parametrize(("errors", "noticed"), [(2.9, 0), (3.1, 1), (-4.9, 0), (-5.1, 1)])
def test_a_fall_is_noticed_later_than_a_rise(errors: float, noticed: int) -> None:
    error = np.sqrt(np.pi / 2) * GOOD.spread * np.sqrt(1 / 30 + 1 / GOOD.count)
    drift = Drift(DriftRule(), GOOD)
    unread = [drift.add(UnreadImage("x.png", "gone")) for _ in range(3)]
    due = [drift.add(image(float(np.exp(GOOD.middle + errors * error)))) for _ in range(30)]
    assert not any(unread)
    assert sum(due) == noticed
    assert drift.since == (33 if noticed else None)


def test_nothing_is_said_without_spread_or_of_no_product() -> None:
    drift = Drift(DriftRule(window=5), replace(GOOD, spread=0.0))
    assert not any(drift.add(image(1000.0)) for _ in range(9))
    assert drift.value is None
    drifts = Drifts(DriftRule(), {})
    assert drifts.value("cap", image(1.0)) is None
    assert drifts.notices == []
