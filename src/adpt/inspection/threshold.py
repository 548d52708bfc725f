"""From which score on an image counts as anomalous: scores and a policy in, a threshold out."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from adpt.errors import UserError
from adpt.inspection.inputs import Images
from adpt.inspection.limits import GoodScores

log = logging.getLogger(__name__)

RATE = 0.05
"""Estimated share of good images above the threshold, where nothing else is asked for."""


@dataclass(frozen=True)
class Threshold:
    """An image is anomalous if its score is above `value`.

    Attributes:
        value: A score.
        origin: How it was found, a sentence without its full stop.
    """

    value: float
    origin: str

    @classmethod
    def given(cls, value: float) -> "Threshold":
        """The user's own.

        Raises:
            UserError: It is no finite number.
        """
        if not _is_number(value) or not math.isfinite(value):
            raise UserError(f"threshold={value} must be a finite number, such as 12.5.")
        return cls(float(value), "given by the user")


@dataclass(frozen=True, kw_only=True)
class ThresholdPolicy:
    """How the threshold is found: in one way; where none is given, by a false-positive rate of 5 %.

    The scores it is found from are those of good images, each as if it had not been fitted on.

    Attributes:
        quantile: Share of the good images that the threshold lets pass, above 0 and at most 1.
        false_positive_rate: Estimated share of good images that are to exceed it, in (0, 1).
        defects: Anomalous images: the threshold is then that of the largest F1 score.
        value: The threshold itself.
        good_test: Further good images, whose scores are taken instead.
        folds: Parts that the good images are left out in, 2 at least, the method being fitted again
            without each. None leaves out each image without fitting again, and for a method that
            cannot do that is 10, and 5 beyond 50 images.

    Raises:
        UserError: One of them is out of its range, or there are several ways.
    """

    quantile: float | None = None
    false_positive_rate: float | None = None
    defects: Images | None = None
    value: float | None = None
    good_test: Images | None = None
    folds: int | None = None

    def __post_init__(self) -> None:
        quantile, rate, folds = self.quantile, self.false_positive_rate, self.folds
        if quantile is not None and not (_is_number(quantile) and 0 < quantile <= 1):
            raise UserError(f"quantile={quantile} must be above 0 and at most 1, such as 0.99.")
        if rate is not None and not (_is_number(rate) and 0 < rate < 1):
            raise UserError(
                f"false_positive_rate={rate} must be above 0 and below 1, such as 0.01."
            )
        if folds is not None and (not isinstance(folds, int) or folds < 2):
            raise UserError(f"folds={folds} must be at least 2, or null for a number that suits.")
        if self.value is not None:
            Threshold.given(self.value)
        ways = {
            "quantile": quantile,
            "false_positive_rate": rate,
            "defects": self.defects,
            "threshold": self.value,
        }
        given = [way for way, asked in ways.items() if asked is not None]
        if len(given) > 1:
            raise UserError(
                f"{' and '.join(given)} contradict each other: each is a way to find the threshold."
                " Give one of them."
            )

    def find(
        self, normal: npt.ArrayLike, source: str, anomalous: npt.ArrayLike | None = None
    ) -> Threshold:
        """The threshold.

        Args:
            normal: (n,) scores of good images that the method was not fitted on, at least one.
            source: Which images these are, for `Threshold.origin`.
            anomalous: (m,) scores of `defects`, at least one, where they are given.

        Raises:
            UserError: A score is no finite number.
        """
        for scores in (normal, anomalous):
            if scores is not None and not np.isfinite(np.asarray(scores)).all():
                raise UserError(
                    "Scores of the images that the threshold is found from are no finite numbers:"
                    " check the backbone's weights."
                )
        if self.value is None and anomalous is None:
            self._warn_of_few(len(np.asarray(normal)))
        return self.found(normal, source, anomalous)

    def found(
        self, normal: npt.ArrayLike, source: str, anomalous: npt.ArrayLike | None = None
    ) -> Threshold:
        """The same, without a warning that the images are few."""
        if self.value is not None:
            return Threshold.given(self.value)
        if anomalous is not None:
            return from_labels(normal, anomalous, source)
        if self.quantile is not None:
            return from_quantile(normal, self.quantile, source)
        return from_rate(normal, self._rate, source)

    def _warn_of_few(self, count: int) -> None:
        asked, rate = f"false_positive_rate={self._rate:g}", self._rate
        if self.quantile is not None:
            asked, rate = f"quantile={self.quantile:g}", 1 - self.quantile
        if rate and count < (needed := math.ceil(1 / rate - 1e-9) - 1):
            log.warning(
                "%s cannot be judged from %d normal images, it takes %d: about 1 in %d further"
                " normal images will exceed their highest score, which the threshold is at most",
                asked,
                count,
                needed,
                count + 1,
            )

    @property
    def _rate(self) -> float:
        return RATE if self.false_positive_rate is None else self.false_positive_rate


# ---- The ways; arguments as of `ThresholdPolicy` and its `find` ---------------------------------


def from_quantile(normal: npt.ArrayLike, quantile: float, source: str) -> Threshold:
    """The lowest normal score that at least a share `quantile` of them do not exceed."""
    scores = np.sort(np.asarray(normal, dtype=np.float64))
    count = len(scores)
    place = _rank(quantile * count)
    name = f"{quantile * 100:g} % quantile of {count} normal images ({source})"
    if place == count:
        name += f", their highest score: {_bound(count)}"
    return Threshold(float(scores[place - 1]), name)


def from_rate(normal: npt.ArrayLike, rate: float, source: str) -> Threshold:
    """The score that a further normal image exceeds with an estimated probability of `rate`.

    By median and median absolute deviation (`GoodScores.robust`), which a bad image among the good
    hardly moves, within bounds that hold whatever the scores' distribution: of images that come in
    any order, a share of k / (n + 1) exceeds the k-th highest score of n. So the limit is at most
    the lowest score that promises `rate`, and at least one that promises three times that, where so
    many images exceed it that none of them decides alone. Below 1 / rate - 1 images it is at most
    their highest score. experiments/thresholds chose it.
    """
    scores = np.sort(np.asarray(normal, dtype=np.float64))[::-1]
    count = len(scores)
    within, beyond = (int(share * (count + 1) + 1e-9) for share in (rate, 3 * rate))
    most = float(scores[max(within, 1) - 1])
    limit = GoodScores.robust(scores).limit(rate) if count > 1 else math.inf
    if 2 <= beyond <= count:
        limit = max(limit, float(scores[beyond - 1]))
    name = (
        f"estimated false-positive rate of {rate * 100:g} % from {count} normal images ({source})"
    )
    # Equal scores have a limit at themselves, up to rounding.
    value = float(limit) if most - limit > 1e-9 * abs(most) else most
    if value == most and within < 2:
        return Threshold(value, f"{name}, their highest score: {_bound(count)}")
    name += f", {np.sum(scores > value)} of which exceed it"
    if beyond < 2:
        fewest = math.ceil(2 / (3 * rate) - 1e-9) - 1
        name += f"; nothing bounds it from below, which takes {fewest} images: it may be too low"
    return Threshold(value, name)


def from_labels(normal: npt.ArrayLike, anomalous: npt.ArrayLike, source: str) -> Threshold:
    """The threshold with the largest F1 score, midway between the two scores that it parts.

    Of several with the same F1 score, the highest.
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
    """Parts of `count` images, 2 at least, that are left out together, one after the other.

    Neighbours stay together: images taken one after the other look alike, and one that is left out
    must not find its twin among those that are fitted.
    """
    if folds is None:
        folds = 10 if count <= 50 else 5
    return [part.tolist() for part in np.array_split(np.arange(count), min(folds, count))]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rank(share: float) -> int:
    # The small excess keeps (1 - 0.01) * 100 from counting as 99.00000000000001.
    return max(1, math.ceil(share - 1e-9))


def _bound(count: int) -> str:
    return f"about 1 normal image in {count + 1} exceeds it"
