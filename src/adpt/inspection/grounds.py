"""The grounds of a threshold, kept in an inspector's file so that it can be found anew."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from adpt.errors import UserError
from adpt.inspection.limits import GoodScores
from adpt.inspection.threshold import Threshold, ThresholdPolicy


@dataclass(frozen=True)
class Grounds:
    """Scores of good images and of known defects, and the rule that made a threshold of them.

    Attributes:
        good: Scores of good images, each as if it had not been fitted on.
        defects: Scores of known defects.
        source: Which images the good ones are, for `Threshold.origin`.
        files: The first digits of the SHA-256 of each file fitted on, so that none is fitted twice.
        quantile: As of `ThresholdPolicy`, and so are the next two.
        false_positive_rate: See above.
        value: See above.
    """

    good: tuple[float, ...]
    defects: tuple[float, ...]
    source: str
    files: tuple[str, ...]
    quantile: float | None = None
    false_positive_rate: float | None = None
    value: float | None = None

    @classmethod
    def of(
        cls,
        policy: ThresholdPolicy,
        good: npt.ArrayLike,
        defects: npt.ArrayLike | None,
        source: str,
        files: tuple[str, ...],
    ) -> Self:
        """The grounds of a fit."""
        bad = () if defects is None else np.asarray(defects).tolist()
        rule = (policy.quantile, policy.false_positive_rate, policy.value)
        return cls(tuple(np.asarray(good).tolist()), tuple(bad), source, files, *rule)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Grounds that went through JSON.

        Raises:
            ValueError: They are none.
        """
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        found = cls(**given)
        scores = (*found.good, *found.defects)
        if not all(type(score) is float and math.isfinite(score) for score in scores):
            raise ValueError("scores of good images or defects that are no finite numbers")
        if not found.good or not all(isinstance(one, str) for one in (found.source, *found.files)):
            raise ValueError("no good images, or names that are no text")
        try:
            found.threshold()
        except UserError as error:
            raise ValueError(str(error)) from error
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @property
    def policy(self) -> ThresholdPolicy:
        """The rule, without images."""
        return ThresholdPolicy(
            quantile=self.quantile, false_positive_rate=self.false_positive_rate, value=self.value
        )

    def threshold(self) -> Threshold:
        """The threshold that follows."""
        return self.policy.found(self.good, self.source, self.defects or None)

    def spread(self) -> GoodScores | None:
        """How good images' scores are distributed; None of a single one."""
        return GoodScores.robust(self.good) if len(self.good) > 1 else None

    def given(self, value: float) -> Self:
        """The same, the threshold being the user's own."""
        return replace(self, quantile=None, false_positive_rate=None, value=value)
