"""From which score on an image counts as anomalous, and how that was found."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adpt.cli.values import is_number
from adpt.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Threshold:
    """An image is anomalous if its score is above `value`.

    Attributes:
        value: A score.
        origin: How it was found, a sentence without its full stop.
    """

    value: float
    origin: str


def check_options(quantile: float, rate: float | None, folds: int | None) -> None:
    """Refuse what is no quantile, rate or number of parts, before time is spent on fitting.

    Raises:
        UserError: One of them is out of its range.
    """
    if not is_number(quantile) or not 0 < quantile <= 1:
        raise UserError(f"quantile={quantile} must be above 0 and at most 1, such as 0.99.")
    if rate is not None and not (is_number(rate) and 0 < rate < 1):
        raise UserError(f"false_positive_rate={rate} must be above 0 and below 1, such as 0.01.")
    if folds is not None and (not isinstance(folds, int) or folds < 2):
        raise UserError(f"folds={folds} must be at least 2, or null for a number that suits.")


def check_value(value: float) -> None:
    """Refuse a threshold that is none.

    Raises:
        UserError: It is no finite number.
    """
    if not is_number(value) or not math.isfinite(value):
        raise UserError(f"threshold={value} must be a finite number, such as 12.5.")


def from_quantile(normal: npt.ArrayLike, quantile: float, source: str) -> Threshold:
    """The lowest normal score that at least a share `quantile` of the normal scores do not exceed.

    Args:
        normal: (n,) scores of normal images that the method was not fitted on, at least one.
        quantile: Above 0, at most 1.
        source: Which images these are, for `Threshold.origin`.

    """
    scores = np.sort(np.asarray(normal, dtype=np.float64))
    count = len(scores)
    place = _rank(quantile * count)
    name = f"{quantile * 100:g} % quantile of {count} normal images ({source})"
    if place == count:
        name += f", their highest score: {_bound(count)}"
        if quantile < 1:
            _warn(f"quantile={quantile:g}", count, 1 - quantile)
    return Threshold(float(scores[place - 1]), name)


def from_rate(normal: npt.ArrayLike, rate: float, source: str) -> Threshold:
    """The score that a new normal image exceeds with a probability of at most `rate`.

    Of n normal scores the r-th smallest is exceeded by a further one from the same source with a
    probability of at most 1 - r / (n + 1), whatever their distribution (split conformal prediction,
    Lei et al., arXiv 1604.04173); r is chosen as small as `rate` allows. Where n is below
    1 / rate - 1 no score of theirs is enough: then it is the highest.

    Args:
        normal: (n,) scores of normal images that the method was not fitted on, at least one.
        rate: Above 0 and below 1.
        source: Which images these are, for `Threshold.origin`.

    """
    scores = np.sort(np.asarray(normal, dtype=np.float64))
    count = len(scores)
    place = _rank((1 - rate) * (count + 1))
    name = (
        f"estimated false-positive rate of {rate * 100:g} % from {count} normal images ({source})"
    )
    if place > count:
        place = count
        name += f", too few for it, so their highest score: {_bound(count)}"
        _warn(f"false_positive_rate={rate:g}", count, rate)
    return Threshold(float(scores[place - 1]), name)


def from_labels(normal: npt.ArrayLike, anomalous: npt.ArrayLike, source: str) -> Threshold:
    """The threshold with the largest F1 score, midway between the two scores that it parts.

    Of several with the same F1 score, the highest.

    Args:
        normal: (n,) scores of normal images.
        anomalous: (m,) scores of anomalous images, at least one.
        source: Which images these are, for `Threshold.origin`.
    """
    below, above = (np.sort(np.asarray(part, dtype=np.float64)) for part in (normal, anomalous))
    scores = np.unique(np.concatenate([below, above]))
    # Anomalous from here on: one candidate a distinct score.
    true = len(above) - np.searchsorted(above, scores)
    false = len(below) - np.searchsorted(below, scores)
    f1 = 2 * true / (true + false + len(above))
    best = len(f1) - 1 - int(np.argmax(f1[::-1]))
    lower = scores[best - 1] if best else scores[0] - max(1.0, abs(scores[0])) * 1e-6
    # Halved before they are added, so that no score overflows.
    value = lower / 2 + scores[best] / 2
    if value == scores[best]:  # Of neighbouring numbers the middle may be rounded up.
        value = lower
    return Threshold(
        float(value),
        f"largest F1 score, {f1[best]:.3f}, on {len(below)} normal and {len(above)} anomalous"
        f" images ({source}); finds {true[best]} of the anomalous and takes {false[best]} of the"
        " normal for anomalous",
    )


def folds_of(count: int, folds: int | None) -> list[Sequence[int]]:
    """Parts of `count` images that are left out together, one part after the other.

    Neighbours stay together: images taken one after the other look alike, and one that is left out
    must not find its twin among those that are fitted.

    Args:
        count: Images, at least 2.
        folds: Parts, at most one an image; None for 10, and 5 beyond 50 images.
    """
    if folds is None:
        folds = 10 if count <= 50 else 5
    return [part.tolist() for part in np.array_split(np.arange(count), min(folds, count))]


def _rank(share: float) -> int:
    # The small excess keeps (1 - 0.01) * 100 from counting as 99.00000000000001.
    return max(1, math.ceil(share - 1e-9))


def _bound(count: int) -> str:
    return f"about 1 normal image in {count + 1} exceeds it"


def _warn(asked: str, count: int, rate: float) -> None:
    needed = math.ceil(1 / rate - 1e-9) - 1
    log.warning(
        "%s cannot be judged from %d normal images, it takes %d: the threshold is their highest"
        " score, and about 1 in %d further normal images will exceed it",
        asked,
        count,
        needed,
        count + 1,
    )
