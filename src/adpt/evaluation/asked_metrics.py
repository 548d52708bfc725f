"""A metric's numbers, held against what it promises."""

import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from adpt.errors import UserError
from adpt.metrics import Metric, RankedMetric, Rankings, Scored
from adpt.metrics.ranking import Counts, Float64s

_ROUNDING = 1e-6
"""So far beyond 0 and 1 a fraction may lie."""


def asked(metric: Metric) -> Metric:
    """A metric that gives what another one does, and refuses what no metric may give."""
    return _AskedRanked(metric) if isinstance(metric, RankedMetric) else _Asked(metric)


def check_names(metric: Metric) -> None:
    """Refuse names that records and tables cannot take.

    Raises:
        UserError: They are no words in lower case with underscores between.
    """
    names = getattr(metric, "names", None)
    if not isinstance(names, tuple | list) or not names or not all(map(_is_name, names)):
        raise UserError(
            f"The metric {type(metric).__name__} has the names {names!r}: it needs a tuple of at"
            " least one, each of words in lower case with underscores between, such as image_auroc."
        )


class _Asked(Metric):
    def __init__(self, metric: Any) -> None:
        self.metric, self.names = metric, metric.names

    def measure(self, scored: Scored) -> Mapping[str, float]:
        return self._floats(lambda: self.metric.measure(scored))

    def resampled(self, scored: Scored, weights: Counts) -> Mapping[str, Float64s]:
        ask, shape = (lambda: self.metric.resampled(scored, weights)), (len(weights),)
        return self._ask("resampled", ask, shape, complete=False)

    def _floats(self, ask: Callable[[], object]) -> Mapping[str, float]:
        return {name: float(value) for name, value in self._ask("measure", ask, ()).items()}

    def _ask(
        self, what: str, ask: Callable[[], object], shape: tuple[int, ...], complete: bool = True
    ) -> dict[str, Float64s]:
        """The metric's arrays of a shape, for all of its names or for some.

        Raises:
            UserError: It gives anything else, or fails by an error of its own.
        """
        own = type(self.metric).__name__
        try:
            given = ask()
        except (UserError, OSError, MemoryError):
            raise  # Pictures are read while a metric looks at them.
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise UserError(
                f"The metric {own} fails in {what} with {type(error).__name__}: {error}"
                f" ({last.filename}, line {last.lineno})."
            ) from error
        found = _arrays(given)
        right = found is not None and (
            set(found) == set(self.names) if complete else set(found) <= set(self.names)
        )
        if found is None or not right or any(v.shape != shape for v in found.values()):
            numbers, names = "a number, or nan, for each of its names", ", ".join(self.names)
            if not complete:
                numbers = f"an array of the shape {shape} for some of its names, or for none"
            raise UserError(
                f"The metric {own} gives {_shown(given)} in {what}:"
                f" it must give {numbers}: {names}."
            )
        for name, values in found.items():
            if (outside := values[(values < -_ROUNDING) | (values > 1 + _ROUNDING)]).size:
                raise UserError(
                    f"The metric {own} gives {outside[0]:g} for {name} in {what}: it must give"
                    " fractions, at least 0 and at most 1, or nan."
                )
        return found


class _AskedRanked(_Asked, RankedMetric):
    def of_rankings(self, rankings: Rankings) -> Mapping[str, float]:
        return self._floats(lambda: self.metric.of_rankings(rankings))


def _arrays(given: object) -> dict[str, Float64s] | None:
    if not isinstance(given, Mapping):
        return None
    try:
        found = {str(name): np.asarray(value) for name, value in given.items()}
    except (TypeError, ValueError):  # Rows of several lengths.
        return None
    if any(values.dtype.kind not in "biuf" for values in found.values()):
        return None
    return {name: values.astype(np.float64) for name, values in found.items()}


def _shown(given: object) -> str:
    if isinstance(given, Mapping):
        shapes = {n: np.shape(v) for n, v in given.items() if isinstance(v, np.ndarray)}
        return (
            ", ".join(
                f"{name} of the shape {shapes[name]}"
                if name in shapes
                else f"{name}: {value!r}"[:80]
                for name, value in given.items()
            )
            or "nothing"
        )
    return f"{type(given).__name__} {str(given)[:40]!r}"


def _is_name(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) is not None
