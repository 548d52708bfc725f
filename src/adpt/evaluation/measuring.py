"""Metrics of a class's scores: the seven, and those that a config names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hydra.utils import instantiate

from adpt.data import Sample
from adpt.data.transforms import Geometry
from adpt.errors import UserError
from adpt.evaluation.asked_metrics import asked, check_names
from adpt.evaluation.features import Features
from adpt.evaluation.picture_maps import PictureMaps, PictureMasks
from adpt.methods.base import Scores, try_making
from adpt.metrics import Good, Metric, Scored, TrueRegion, aupro_dilated, no_good, ranked_metrics
from adpt.metrics.arrays import finite_scores
from adpt.metrics.intervals import intervals
from adpt.results import METRICS

Metrics = dict[str, float]


def no_defects(sample: Sample) -> None:
    """Nothing, where a set does not tell an image's defects apart."""


@dataclass(frozen=True)
class Measuring:
    """How scores of test images are measured.

    Attributes:
        metrics: Those beside the seven.
        dilated_overlap: The paper's AUPRO takes overlaps from dilated maps.
        samples: The set's images, by their paths.
        pictures: Measures pixels at the pictures' own resolution, by this geometry; None at the
            network's.
        with_intervals: Measures resamples of the test images too.
        defects_of: Gives an image's defects one by one; None where its set does not tell them.
    """

    metrics: Sequence[Metric] = ()
    dilated_overlap: bool = False
    samples: Mapping[str, Sample] = field(default_factory=dict)
    pictures: Geometry | None = None
    with_intervals: bool = False
    defects_of: Callable[[Sample], Sequence[TrueRegion] | None] = no_defects

    def scored(
        self, scores: Scores, test: Features, good: Callable[[], Good | None] = no_good
    ) -> Scored:
        """Scores of test images as metrics look at them; arguments as of `Scored`.

        Raises:
            ValueError: There are NaN or infinite scores.
        """
        maps, masks = finite_scores(scores.maps, "maps"), test.masks.numpy()
        samples = [self.samples[path] for path in test.paths] if self.samples else []
        labels, image = test.labels.numpy() != 0, finite_scores(scores.image, "image_scores")

        def find_defects(number: int) -> Sequence[TrueRegion] | None:
            return self.defects_of(samples[number]) if samples else None

        if self.pictures is None or not test.marked:
            known = masks if test.marked else None
            return Scored(maps, known, labels, image, samples, good, find_defects)
        laid = PictureMaps(maps, samples, self.pictures), PictureMasks(samples, self.pictures)
        return Scored(*laid, labels, image, samples, good, find_defects)

    def measure(self, scored: Scored) -> Metrics:
        """All metrics of a class.

        Raises:
            UserError: A metric fails, gives other numbers than it names, or no fractions.
        """
        found = ranked_metrics(scored.rankings, paper_aupro=scored.at_network)
        if self.dilated_overlap and scored.at_network and scored.masks is not None:
            maps, masks = np.asarray(scored.maps), np.asarray(scored.masks)
            found["pixel_aupro_paper"] = aupro_dilated(maps, masks)
        for metric in self.metrics:
            found |= asked(metric).measure(scored)
        return found

    def intervals(self, scored: Scored) -> dict[str, tuple[float, float]]:
        """Intervals of a class's metrics, where they are asked for.

        Raises:
            UserError: As of `measure`, of resamples.
        """
        return intervals(scored, [*map(asked, self.metrics)]) if self.with_intervals else {}


def make_metrics(configs: Mapping[str, Any] | None) -> list[Metric]:
    """Make the metrics of the group `metric`.

    Args:
        configs: The group, name to options; None for none.

    Raises:
        UserError: One refuses its options, has names that are none, or two give numbers of the
            same name.
    """
    made = [
        try_making(f"metric.{name}", instantiate(config, _partial_=True), Metric)
        for name, config in (configs or {}).items()
        if config is not None
    ]
    owners = dict.fromkeys(METRICS, "always given")
    for metric in made:
        check_names(metric)
        for name in metric.names:
            if name in owners:
                raise UserError(
                    f"The metric {type(metric).__name__} gives {name}, which is {owners[name]}:"
                    " leave one out, or give it another name."
                )
            owners[name] = f"given by {type(metric).__name__} too"
    return made
