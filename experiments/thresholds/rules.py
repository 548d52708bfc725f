"""Rules that make a threshold of the scores of good pictures (and of drawn defects)."""

from collections.abc import Callable

import numpy as np
from scipy import stats

from adpt.inspection.limits import GoodScores, outlying
from adpt.inspection.threshold import from_rate

Array = np.ndarray
Rule = Callable[[Array, Array, float], float]
"""Scores of good pictures left out, of drawn defects, and the asked rate of false alarms."""


def highest(good: Array, drawn: Array, rate: float) -> float:
    """Today's: the quantile, which is the highest score below 1/rate − 1 pictures."""
    place = max(1, int(np.ceil((1 - rate) * (len(good) + 1) - 1e-9)))
    return float(np.sort(good)[min(place, len(good)) - 1])


def log_normal(good: Array, drawn: Array, rate: float) -> float:
    """Student's limit for a further value, of the scores' logarithms."""
    return GoodScores.of(good).limit(rate)


def normal(good: Array, drawn: Array, rate: float) -> float:
    """The same of the scores themselves."""
    return float(_student(good.mean(), good.std(ddof=1), len(good), rate))


def log_robust(good: Array, drawn: Array, rate: float) -> float:
    """Median and median absolute deviation of the logarithms."""
    return GoodScores.robust(good).limit(rate)


def log_robust_within(good: Array, drawn: Array, rate: float) -> float:
    """The same, at most the highest score."""
    return min(log_robust(good, drawn, rate), float(good.max()))


def adpt(good: Array, drawn: Array, rate: float) -> float:
    """Adpt's own: `log_robust`, between the quantiles (`highest`) of that rate and of thrice it."""
    return from_rate(good, rate, "").value


def robust(good: Array, drawn: Array, rate: float) -> float:
    """`log_robust` of the scores themselves."""
    middle = np.median(good)
    spread = 1.4826 * np.median(np.abs(good - middle))
    return float(_student(middle, spread, len(good), rate))


def log_winsorised(good: Array, drawn: Array, rate: float) -> float:
    """`log_normal`, what lies above median and 2.5 × the robust spread being brought there."""
    logs = np.log(good)
    middle = np.median(logs)
    spread = 1.4826 * np.median(np.abs(logs - middle))
    return log_normal(np.exp(np.minimum(logs, middle + 2.5 * spread)), drawn, rate)


def log_quartiles(good: Array, drawn: Array, rate: float) -> float:
    """Median and the distance to the upper quartile of the logarithms."""
    logs = np.log(good)
    middle, upper = np.quantile(logs, [0.5, 0.75])
    return float(np.exp(_student(middle, (upper - middle) / 0.6745, len(logs), rate)))


def without_outlying(good: Array, drawn: Array, rate: float) -> float:
    """`log_normal` without pictures that stand apart from the others."""
    return log_normal(np.delete(good, outlying(good)), drawn, rate)


def gamma(good: Array, drawn: Array, rate: float) -> float:
    """A gamma distribution by its moments."""
    mean, variance = good.mean(), good.var(ddof=1)
    return float(stats.gamma.isf(rate, mean**2 / variance, scale=variance / mean))


def gumbel(good: Array, drawn: Array, rate: float) -> float:
    """A Gumbel distribution by its moments."""
    scale = good.std(ddof=1) * np.sqrt(6) / np.pi
    return float(good.mean() - np.euler_gamma * scale - scale * np.log(-np.log(1 - rate)))


def pareto(good: Array, drawn: Array, rate: float) -> float:
    """A generalised Pareto tail above the median, by probability-weighted moments."""
    order = np.sort(good)
    base = np.median(order)
    excess = order[order > base] - base
    count = len(excess)
    if count < 2:
        return float(order[-1])
    weights = (count - np.arange(1, count + 1) + 0.35) / count
    first, second = excess.mean(), (weights * excess).mean()
    shape = np.clip(2 - first / (first - 2 * second), -0.9, 0.9)
    scale = first * (1 - shape)
    return float(base + stats.genpareto.isf(min(1, rate * len(good) / count), shape, scale=scale))


def drawn_f1(good: Array, drawn: Array, rate: float) -> float:
    """The largest F1 score between good pictures and drawn defects."""
    return best_f1(good, drawn)[1]


def drawn_bounded(good: Array, drawn: Array, rate: float) -> float:
    """The same, not above the log-normal limit."""
    return min(drawn_f1(good, drawn, rate), log_normal(good, drawn, rate))


def between(good: Array, drawn: Array, rate: float) -> float:
    """The log-normal limit, lowered to the drawn defects' lower decile, not below 3 × the rate."""
    limit = log_normal(good, drawn, rate)
    lowest = log_normal(good, drawn, 3 * rate)
    return float(max(lowest, min(limit, np.quantile(drawn, 0.1))))


RULES: dict[str, Rule] = {rule.__name__: rule for rule in (
    highest, log_normal, normal, log_robust, log_robust_within, adpt, robust, log_winsorised,
    log_quartiles, without_outlying, gamma, gumbel, pareto,
    drawn_f1, drawn_bounded, between,
)}  # fmt: skip


def best_f1(good: Array, bad: Array) -> tuple[float, float]:
    """The largest F1 score that any threshold gives, and that threshold."""
    places = np.unique(np.concatenate([good, bad]))
    places = np.concatenate([[places[0] - 1], (places[:-1] + places[1:]) / 2])
    scores = [f1(good, bad, place) for place in places]
    best = len(scores) - 1 - int(np.argmax(scores[::-1]))
    return scores[best], float(places[best])


def f1(good: Array, bad: Array, threshold: float) -> float:
    """F1 score of the anomalous pictures."""
    hits, false = (bad > threshold).sum(), (good > threshold).sum()
    return float(2 * hits / (hits + false + len(bad)))


def _student(middle: float, spread: float, count: int, rate: float) -> float:
    return middle + stats.t.isf(rate, count - 1) * spread * np.sqrt(1 + 1 / count)
