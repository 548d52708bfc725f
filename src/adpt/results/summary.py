"""Own, residual and pretrained features side by side, per class and on average."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from adpt.results.budget import MARK, budget
from adpt.results.grouping import Group, grouped
from adpt.results.metric_names import recorded
from adpt.results.record import FEATURES, Record
from adpt.results.words import options_in_words, references_in_words, setting_in_words


@dataclass(frozen=True)
class Comparison:
    """One metric with own, residual and pretrained features, as fractions; nan where not known.

    Args:
        own: With the backbone's own features.
        residual: With residual features.
        pretrained: With residual features through the projector.
        classes: How many classes this is the mean of.
        by_seed: The values for each seed, by the name of the features; of a mean over classes, its
            values for the seeds that all these classes have.
        fixed: Features that seeds decide nothing of.
        intervals: Low and high end over resamples of the test images, by the name of the features,
            where there is one seed; of a mean, as if the classes' deviations were independent.
        cells: Those that it is the mean of.
    """

    own: float
    residual: float
    pretrained: float
    classes: int = 1
    by_seed: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    cells: "tuple[Comparison, ...]" = ()

    @property
    def difference(self) -> float:
        """Pretrained minus own."""
        return self.pretrained - self.own

    @property
    def beyond_residual(self) -> float:
        """Pretrained minus residual: what pretraining adds to subtracting references."""
        return self.pretrained - self.residual

    def deviation(self, features: str) -> float:
        """Standard deviation over seeds (of a sample).

        It is nan for fewer than two seeds, where one's value is nan, and for `fixed` features.

        Args:
            features: `own`, `residual` or `pretrained`.
        """
        values = [] if features in self.fixed else list(self.by_seed.get(features, {}).values())
        return math.nan if len(values) < 2 or math.isnan(sum(values)) else stdev(values)


NOTHING = Comparison(math.nan, math.nan, math.nan)
"""The comparison of a metric that was not recorded."""


def mean_of(comparisons: Sequence[Comparison]) -> Comparison:
    """Mean over classes, or over data sets.

    It is over those that have both own and pretrained features (or whatever was recorded), so that
    a missing one shifts neither against the other; residual features have a mean only where all
    of these have them.
    """
    known = {f for f in FEATURES for cell in comparisons if _has(cell, f)}
    compared = known & {"own", "pretrained"} or known
    shared = [cell for cell in comparisons if all(_has(cell, f) for f in compared)]
    own, residual, pretrained = (_mean(getattr(cell, f) for cell in shared) for f in FEATURES)
    by_seed = {f: _mean_by_seed([cell.by_seed.get(f, {}) for cell in shared]) for f in FEATURES}
    fixed = frozenset(f for f in FEATURES if all(f in cell.fixed for cell in shared))
    intervals = {f: found for f in FEATURES if (found := _interval_of_mean(shared, f))}
    of = tuple(shared)
    return Comparison(own, residual, pretrained, len(of), by_seed, fixed, intervals, of)


def _interval_of_mean(cells: Sequence[Comparison], features: str) -> tuple[float, float] | None:
    if not cells or not all(features in cell.intervals for cell in cells):
        return None
    values = [getattr(cell, features) for cell in cells]
    ends = zip(*(cell.intervals[features] for cell in cells), strict=True)
    below, above = (math.dist(values, end) / len(cells) for end in ends)
    return fmean(values) - below, fmean(values) + above


@dataclass(frozen=True)
class Compared:
    """A class, or the mean over classes, with a comparison per metric."""

    name: str
    metrics: dict[str, Comparison]


@dataclass(frozen=True)
class Summary:
    """One method on one data set in one setting.

    Args:
        dataset: Name of the data set.
        method: Name of the method.
        backbone: Name of the backbone.
        protocol: `clean` or `paper`.
        shots: References per class behind residual and pretrained features.
        seeds: Seeds that were averaged.
        rows: One per class, sorted by name.
        mean: Mean over classes.
        varied: What differs from the plain experiment, as of `Record.setting`.
        options: The method's options that differ from its published ones, for each kind of
            features that was recorded.
        projectors: SHA-256 of the projectors behind pretrained features, in order of appearance;
            several where each seed, or each class that was left out, has one of its own.
        variant: As of `Group`.
        records: What this is the summary of.
        fixed: Features whose results are the same for all seeds, in every class and metric.
    """

    dataset: str
    method: str
    backbone: str
    protocol: str
    shots: int | None
    seeds: tuple[int, ...]
    rows: tuple[Compared, ...]
    mean: Compared
    varied: dict[str, Any] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    projectors: tuple[str, ...] = ()
    variant: str | None = None
    records: tuple[Record, ...] = ()
    fixed: frozenset[str] = frozenset()

    @property
    def budget(self) -> list[str]:
        """A phrase for each of the method's options that is not the published one."""
        return budget(self.records)

    @property
    def name(self) -> str:
        """The method, marked where its options are not the published ones."""
        return self.method + MARK * bool(self.budget)

    @property
    def features(self) -> list[str]:
        """Kinds of features that were recorded, in their usual order."""
        found = {record.features for record in self.records}
        return [features for features in FEATURES if features in found]

    @property
    def projector_sha256(self) -> str | None:
        """The projector behind pretrained features; None for none and for several."""
        return self.projectors[0] if len(self.projectors) == 1 else None

    @property
    def setting(self) -> str:
        """Everything but data set and method, in words."""
        parts = [self.backbone, f"{self.protocol} protocol", *setting_in_words(self.varied)]
        parts += options_in_words(self.options)
        if "aligned" not in self.varied:
            parts += references_in_words(self.records)
        if self.projector_sha256 is not None:
            parts.append(f"projector {self.projector_sha256[:8]}")
        elif self.projectors:
            parts.append(f"{len(self.projectors)} projectors")
        parts.append(f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}")
        return ", ".join(parts)


def summarise(records: Iterable[Record]) -> list[Summary]:
    """Compare features per data set, method and setting (see `grouped`).

    Several seeds are averaged, with their standard deviation. Of own and residual features the
    seeds count that pretrained features have, if any are the same.

    The mean over classes is that of `mean_of`; its standard deviation is that of the mean, over the
    seeds that all these classes have.

    Args:
        records: Records of any data sets and methods.

    Returns:
        Summaries in the order in which their first records come.
    """
    return [_summary(group) for group in grouped(records)]


def _summary(group: Group) -> Summary:
    classes: dict[str, list[Record]] = {}
    for record in group.records:
        classes.setdefault(record.class_name, []).append(record)
    metrics = recorded(record.metrics for record in group.records)
    kinds = {f: [record for record in group.records if record.features == f] for f in FEATURES}
    fixed = frozenset(features for features, records in kinds.items() if _is_fixed(records))
    rows = tuple(
        Compared(name, {metric: _comparison(classes[name], metric, fixed) for metric in metrics})
        for name in sorted(classes)
    )
    # The first may be of own features, taken from a setting without references for each image.
    last = group.records[-1]
    projectors = dict.fromkeys(r.projector_sha256 for r in group.records if r.projector_sha256)
    return Summary(
        last.dataset,
        last.method,
        last.backbone,
        last.protocol,
        group.shots,
        tuple(sorted({record.seed for record in group.records})),
        rows,
        Compared("mean", {m: mean_of([row.metrics[m] for row in rows]) for m in metrics}),
        last.setting,
        {r.features: r.options for r in group.records},
        tuple(projectors),
        group.variant,
        group.records,
        fixed,
    )


def _is_fixed(records: Sequence[Record]) -> bool:
    """True if results of several seeds are equal to the last digit, in every class and metric.

    Equal values of one metric may be chance: image AUROC is soon 1.
    """
    seeds: dict[str, set[int]] = {}
    results: dict[str, set[str]] = {}
    for record in records:
        seeds.setdefault(record.class_name, set()).add(record.seed)
        results.setdefault(record.class_name, set()).add(str(sorted(record.metrics.items())))
    several = any(len(found) > 1 for found in seeds.values())
    return several and all(len(found) == 1 for found in results.values())


def _comparison(records: Sequence[Record], metric: str, fixed: frozenset[str]) -> Comparison:
    by_seed: dict[str, dict[int, float]] = {features: {} for features in FEATURES}
    for record in records:
        if metric in record.metrics:
            by_seed[record.features][record.seed] = record.metrics[metric]
    own, residual, pretrained = (_mean(by_seed[features].values()) for features in FEATURES)
    intervals = {
        record.features: record.intervals[metric]
        for record in records
        if metric in record.intervals and len(by_seed[record.features]) == 1
    }
    return Comparison(own, residual, pretrained, 1, by_seed, fixed, intervals)


def _mean_by_seed(cells: Sequence[Mapping[int, float]]) -> dict[int, float]:
    seeds = set.intersection(*map(set, cells)) if cells else set()
    return {seed: _mean(cell[seed] for cell in cells) for seed in sorted(seeds)}


def _has(cell: Comparison, features: str) -> bool:
    return not math.isnan(getattr(cell, features))


def _mean(values: Iterable[float]) -> float:
    """Mean, nan for no values or where one is nan."""
    values = list(values)
    return fmean(values) if values else math.nan
