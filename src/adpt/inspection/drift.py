"""Notice when the scores of images that are taken for good move away from those at the fit."""

import logging
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from adpt.inspection.inputs import UnreadImage
from adpt.inspection.inspection import Inspection
from adpt.inspection.inspector import Inspector
from adpt.inspection.limits import GoodScores

log = logging.getLogger(__name__)

_OF_MEDIAN = math.sqrt(math.pi / 2)
"""Standard error of the median of normally distributed numbers, by that of their mean."""


@dataclass(frozen=True, kw_only=True)
class DriftRule:
    """When scores have moved; the defaults are measured: `experiments/drift`.

    Attributes:
        window: Images taken for good whose median counts, the last ones.
        above: Standard errors above the fit's median from which on there is a notice.
        below: The same below it.
    """

    window: int = 30
    above: float = 3.0
    below: float = 5.0


class Drift:
    """The running median of the scores of images that are taken for good, against the fit's.

    Args:
        rule: When scores have moved.
        good: The distribution of good images' scores at the fit; None for not known.

    Attributes:
        value: Standard errors above the fit's median, below it where negative; None for as long as
            images are fewer than `rule.window`, and without `good`.
        since: Which image, counted from 1, the last notice came at; None for none.
    """

    def __init__(self, rule: DriftRule, good: GoodScores | None) -> None:
        self.rule, self.good = rule, good
        self.value: float | None = None
        self.since: int | None = None
        self._images = 0
        self._last: deque[float] = deque(maxlen=rule.window)
        self._outside = False

    def add(self, result: Inspection | UnreadImage) -> bool:
        """Take an image into account; true if its notice is due: scores have moved with it."""
        self._images += 1
        good = self.good
        if good is None or isinstance(result, UnreadImage) or result.anomalous:
            return False
        self._last.append(float(good.scaled(result.score)))
        if len(self._last) < self.rule.window or not good.spread > 0:
            return False
        error = _OF_MEDIAN * good.spread * math.sqrt(1 / self.rule.window + 1 / good.count)
        self.value = (float(np.median(self._last)) - good.middle) / error
        inside, self._outside = not self._outside, self._moved
        if due := inside and self._outside:
            self.since = self._images
        return due

    @property
    def notice(self) -> str:
        """A message to a person; "" where scores never moved."""
        if self.since is None or self.value is None:
            return ""
        way = "higher" if self.value > 0 else "lower"
        now = (
            f"the median of the last {self.rule.window} images taken for good is"
            f" {abs(self.value):.1f} standard errors {way}"
        )
        since = f"Scores of good images have moved, at image {self.since}: {now} than at the fit."
        if not self._outside:
            return f"{since} They are back within what is usual."
        return (
            f"{since} Look whether light, focus or place have changed; if the parts are good,"
            " take such images in with add=<folder>."
        )

    @property
    def _moved(self) -> bool:
        value = self.value or 0.0
        return value > self.rule.above or value < -self.rule.below


class Drifts:
    """The drift of each product.

    Args:
        rule: When scores have moved.
        inspectors: By product; may grow.
        at_once: True to log a notice when it is due.
    """

    def __init__(
        self, rule: DriftRule, inspectors: Mapping[str, Inspector], at_once: bool = False
    ) -> None:
        self._rule, self._inspectors, self._at_once = rule, inspectors, at_once
        self._found: dict[str, Drift] = {}

    def value(self, product: str, result: Inspection | UnreadImage) -> float | None:
        """`Drift.value` of a product with this image; None for an image of none."""
        if product not in self._inspectors:
            return None
        if product not in self._found:
            self._found[product] = Drift(self._rule, self._inspectors[product].good_scores)
        drift = self._found[product]
        if drift.add(result) and self._at_once:
            log.warning(_named(product, drift))
        return drift.value

    @property
    def notices(self) -> list[str]:
        """Those of the products whose scores moved."""
        return [_named(product, drift) for product, drift in self._found.items() if drift.since]


def _named(product: str, drift: Drift) -> str:
    return f"{product}: {drift.notice}" if product else drift.notice
