"""The distribution of good scores: its limit, normalised scores, outlying pictures."""

import numpy as np
import pytest
from scipy import stats

from adpt.inspection.limits import GoodScores, outlying


def lognormal(seed: int, count: int) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(3, 0.2, count))


@pytest.mark.parametrize("count", [5, 12, 80])
@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_further_good_pictures_exceed_the_limit_as_often_as_asked(count: int, rate: float) -> None:
    exceeded = []
    for seed in range(1500):
        logs = np.log(GoodScores.of(lognormal(seed, count)).limit(rate))
        exceeded.append(stats.norm.sf(logs, 3, 0.2))  # of all further pictures, not of a sample
    assert np.mean(exceeded) == pytest.approx(rate, rel=0.12)


def test_the_limit_is_the_prediction_limit_of_the_textbook() -> None:
    scores = lognormal(0, 9)
    logs = np.log(scores)
    expected = logs.mean() + stats.t.ppf(0.95, 8) * np.sqrt(logs.var(ddof=1) * (1 + 1 / 9))
    assert GoodScores.of(scores).limit(0.05) == pytest.approx(np.exp(expected))


@pytest.mark.parametrize("scores", [lognormal(1, 20), np.linspace(-3, 2, 20)])
def test_the_share_above_a_limit_is_its_rate(scores: np.ndarray) -> None:
    good = GoodScores.of(scores)
    assert good.share_above(good.limit(0.03)) == pytest.approx(0.03)
    shares = good.share_above(np.sort(scores))
    assert (np.diff(shares) < 0).all()
    assert (shares > 0).all()
    assert (shares < 1).all()


@pytest.mark.parametrize("factor", [1e-9, 7.0, 1e9])
def test_units_of_scores_do_not_matter(factor: float) -> None:
    scores = lognormal(2, 15)
    once, scaled = GoodScores.of(scores), GoodScores.of(scores * factor)
    assert scaled.limit(0.05) == pytest.approx(factor * once.limit(0.05))
    assert scaled.share_above(factor * 25.0) == pytest.approx(once.share_above(25.0))


def test_equal_scores_put_the_limit_on_them() -> None:
    good = GoodScores.of([4.0] * 6)
    assert good.limit(0.01) == pytest.approx(4.0)
    assert good.share_above([3.9, 4.1]) == pytest.approx([1, 0])


def test_a_score_of_zero_is_below_all_where_scores_are_positive() -> None:
    assert GoodScores.of([4.0, 5.0, 6.0]).share_above(0.0) > 0.99


def test_one_score_is_refused() -> None:
    with pytest.raises(ValueError, match="1 scores"):
        GoodScores.of([1.0])


def test_outlying_pictures_are_named_highest_first_and_do_not_hide_one_another() -> None:
    scores = np.exp(stats.norm.ppf((np.arange(30) + 0.5) / 30, 3, 0.2))
    scores[[4, 17]] = 60, 70
    assert outlying(scores) == [17, 4]
    assert outlying(np.delete(scores, [4, 17])) == []


@pytest.mark.parametrize("count", [6, 10, 60])
def test_where_all_pictures_are_alike_one_in_twenty_sets_has_an_outlying_one(count: int) -> None:
    found = np.mean([bool(outlying(lognormal(seed, count))) for seed in range(800)])
    assert 0.02 < found < 0.08


def test_too_few_pictures_have_no_outlying_one() -> None:
    assert outlying([1.0, 1.1, 1.2, 1.3, 50.0]) == []


@pytest.mark.parametrize(("count", "most"), [(10, 0.09), (60, 0.06)])
def test_robust_limits_meet_the_rate_roughly(count: int, most: float) -> None:
    rng = np.random.default_rng(0)
    limits = [
        np.log(GoodScores.robust(np.exp(rng.normal(50, 4, count))).limit(0.05)) for _ in range(1500)
    ]
    assert 0.045 < stats.norm.sf(limits, 50, 4).mean() < most


def test_an_outlying_picture_hardly_moves_a_robust_limit() -> None:
    scores = np.random.default_rng(0).normal(50, 4, 30)
    before = GoodScores.robust(scores).limit(0.05)
    scores[scores.argmax()] = 5000
    assert GoodScores.robust(scores).limit(0.05) == before
