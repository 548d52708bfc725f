"""A metric beside the seven: a small class, of adpt's or of one's own."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from adpt.metrics.ranking import Counts, Float64s, Rankings
from adpt.metrics.scored import Scored


class Metric(ABC):
    """One or several numbers that say how well a class's test images were scored.

    Attributes:
        names: Of the numbers, as records and tables have them: words in lower case with underscores
            between; those of images begin with `image_`, those of pixels with `pixel_`.
    """

    names: tuple[str, ...]

    @abstractmethod
    def measure(self, scored: Scored) -> Mapping[str, float]:
        """Measure a class.

        Args:
            scored: Its test images; `scored.rankings` is sorted already.

        Returns:
            For each of `names` a fraction, larger is better; nan where it is not defined.
        """

    def resampled(self, scored: Scored, weights: Counts) -> Mapping[str, Float64s]:
        """Measure resamples of the images, for `intervals=true`.

        Args:
            scored: The test images.
            weights: (R, N), how often each image stands in each resample.

        Returns:
            For each of `names` that has intervals (R,) numbers; of none, as here, by default.
        """
        return {}


class RankedMetric(Metric):
    """A metric that looks at the order of scores alone; it has intervals without more."""

    @abstractmethod
    def of_rankings(self, rankings: Rankings) -> Mapping[str, float]:
        """The numbers, as of `measure`, from how anomalous scores lie among normal ones."""

    def measure(self, scored: Scored) -> Mapping[str, float]:
        """The numbers of the test images."""
        return self.of_rankings(scored.rankings)
