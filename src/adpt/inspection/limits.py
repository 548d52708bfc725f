"""A limit for a rate of false alarms, from good pictures' scores."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

LEVEL = 0.05
"""Probability that one of pictures that are all alike is taken for an outlying one."""
_FEWEST = 5
_MAD_TO_DEVIATION = 1.4826


@dataclass(frozen=True)
class GoodScores:
    """The distribution of a further good picture's score, a location and a scale being estimated.

    Scores, or their logarithms, are taken for normally distributed: a further one's distance from
    the middle, divided by spread·√(1 + 1/n), then follows Student's distribution with n − 1 degrees
    of freedom, so that few pictures widen the limit by what is not known of location and scale.

    Attributes:
        middle: Of the scores or their logarithms.
        spread: Standard deviation of these.
        count: How many there are, at least 2.
        logarithmic: True if logarithms were taken.
    """

    middle: float
    spread: float
    count: int
    logarithmic: bool = True

    @classmethod
    def of(cls, scores: npt.ArrayLike) -> Self:
        """The distribution of left-out scores, by mean and standard deviation of their logarithms.

        Of the scores themselves where one is not positive.

        Raises:
            ValueError: There are fewer than two.
        """
        values = np.asarray(scores, dtype=np.float64)
        if len(values) < 2:
            raise ValueError(f"{len(values)} scores have no spread: it takes two at least.")
        logarithmic = bool((values > 0).all())
        values = np.log(values) if logarithmic else values
        return cls(float(values.mean()), float(values.std(ddof=1)), len(values), logarithmic)

    @classmethod
    def robust(cls, scores: npt.ArrayLike) -> Self:
        """The same by their median and median absolute deviation.

        Outlying pictures hardly move it. The rate of false alarms is met roughly: normally
        distributed scores of ten pictures exceed a limit for 5 % in about 8 %. Where that deviation
        is 0, as with many copies of a picture, it is `of` them.

        Raises:
            ValueError: There are fewer than two.
        """
        plain = cls.of(scores)
        values = np.asarray(scores, dtype=np.float64)
        values = np.log(values) if plain.logarithmic else values
        middle = float(np.median(values))
        spread = _MAD_TO_DEVIATION * float(np.median(np.abs(values - middle)))
        return cls(middle, spread, len(values), plain.logarithmic) if spread > 0 else plain

    def limit(self, rate: float) -> float:
        """The score that a further good picture exceeds with this probability.

        Args:
            rate: Above 0 and below 1.
        """
        value = self.middle - stdtrit(self.count - 1, rate) * self._width
        return float(np.exp(value) if self.logarithmic else value)

    def share_above(self, score: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The estimated share of good pictures that score higher: 0 to 1, small for a defect.

        The same for every method and product; `limit(rate)` is the score where it is `rate`.
        """
        distance = (self.scaled(score) - self.middle) / max(self._width, np.finfo(np.float64).tiny)
        return np.asarray(stdtr(self.count - 1, -distance))

    def scaled(self, score: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Scores as `middle` and `spread` have them: their logarithms, where these were taken."""
        values = np.asarray(score, dtype=np.float64)
        tiny = np.finfo(np.float64).tiny
        return np.log(np.maximum(values, tiny)) if self.logarithmic else values

    @property
    def _width(self) -> float:
        return float(self.spread * np.sqrt(1 + 1 / self.count))


def outlying(scores: npt.ArrayLike, level: float = LEVEL) -> list[int]:
    """Which good pictures stand apart from the others above, the highest first.

    Groups of one, two, … up to a tenth of the pictures are set against the rest, the largest that
    stands apart being taken, so that one outlying picture does not hide another. A group stands
    apart if its lowest score is less likely than `level` divided by the number of pictures.

    Args:
        scores: (n,) scores of good pictures, left out; fewer than six have none.
        level: Probability that one is found where all come from one distribution.
    """
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    for group in range(max(1, len(values) // 10), 0, -1):
        if len(values) - group >= _FEWEST:
            rest = GoodScores.of(values[order[group:]])
            if float(rest.share_above(values[order[group - 1]])) < level / len(values):
                return [int(place) for place in order[:group]]
    return []
