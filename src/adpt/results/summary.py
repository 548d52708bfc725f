"""Own, residual and pretrained features side by side, per class and on average."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from adpt.results.record import FEATURES, Record, latest

METRICS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1max": "pixel F1-max",
    "pixel_aupro": "AUPRO",
    "pixel_aupro_paper": "AUPRO (paper's variant)",
}
"""Name of each metric in records, and how readers know it."""


@dataclass(frozen=True)
class Comparison:
    """One metric with own, residual and pretrained features, as fractions; nan where not known.

    Args:
        own: With the backbone's own features.
        residual: With residual features.
        pretrained: With residual features through the projector.
        classes: How many classes this is the mean of.
    """

    own: float
    residual: float
    pretrained: float
    classes: int = 1

    @property
    def difference(self) -> float:
        """Pretrained minus own."""
        return self.pretrained - self.own


@dataclass(frozen=True)
class Row:
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
        projector_sha256: The projector behind pretrained features.
        seeds: Seeds that were averaged.
        rows: One per class, sorted by name.
        mean: Mean over classes.
    """

    dataset: str
    method: str
    backbone: str
    protocol: str
    shots: int | None
    projector_sha256: str | None
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    mean: Row

    @property
    def setting(self) -> str:
        """Everything but data set and method, in words."""
        parts = [self.backbone, f"{self.protocol} protocol"]
        if self.shots is not None:
            parts.append(f"{self.shots} reference{'s' * (self.shots != 1)} per class")
        if self.projector_sha256 is not None:
            parts.append(f"projector {self.projector_sha256[:8]}")
        parts.append(f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}")
        return ", ".join(parts)


def summarise(records: Iterable[Record]) -> list[Summary]:
    """Compare features per data set, method and setting.

    A setting is a backbone, a protocol, a number of references and a projector; the results of own
    features, which need neither references nor projector, stand in each of them. Of a cell that was
    recorded twice the later record counts (see `latest`). Several seeds of a class are averaged.

    The mean of a metric is over the classes that have it for both own and pretrained features (or
    for the one that was recorded), so that an interrupted run or an undefined metric in some class
    shifts neither against the other. The mean for residual features is nan unless all of these
    classes have it.

    Args:
        records: Records of any data sets and methods.

    Returns:
        Summaries in the order in which their first records come.
    """
    groups: dict[tuple[str, str, str, str], list[Record]] = {}
    for record in latest(records):
        key = (record.dataset, record.method, record.backbone, record.protocol)
        groups.setdefault(key, []).append(record)
    return [
        _summary(group, shots, projector)
        for group in groups.values()
        for shots, projector in _settings(group)
    ]


def percent(fraction: float) -> str:
    """A fraction in percent with one decimal, `–` for nan."""
    return "–" if math.isnan(fraction) else f"{100 * fraction:.1f}"


def points(difference: float) -> str:
    """A difference of fractions in points with its sign, `–` for nan."""
    if math.isnan(difference):
        return "–"
    rounded = round(100 * difference, 1)
    return f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0"


def _settings(group: Sequence[Record]) -> list[tuple[int | None, str | None]]:
    pretrained = {(r.shots, r.projector_sha256): None for r in group if r.features == "pretrained"}
    shots = {shots for shots, _ in pretrained}
    residual = {
        (r.shots, None): None for r in group if r.features == "residual" and r.shots not in shots
    }
    return [*pretrained, *residual] or [(None, None)]


def _summary(group: Sequence[Record], shots: int | None, projector: str | None) -> Summary:
    chosen = [
        record
        for record in group
        if record.features == "own"
        or (record.features == "residual" and record.shots == shots)
        or (record.shots == shots and record.projector_sha256 == projector)
    ]
    names = sorted({record.class_name for record in chosen})
    found = {name for record in chosen for name in record.metrics}
    metrics = [name for name in METRICS if name in found]
    rows = tuple(_class_row(name, chosen, metrics) for name in names)
    first = group[0]
    return Summary(
        first.dataset,
        first.method,
        first.backbone,
        first.protocol,
        shots,
        projector,
        tuple(sorted({record.seed for record in chosen})),
        rows,
        _mean_row(rows, metrics),
    )


def _class_row(name: str, chosen: Sequence[Record], metrics: Sequence[str]) -> Row:
    def value(features: str, metric: str) -> float:
        return _mean(
            record.metrics[metric]
            for record in chosen
            if (record.class_name, record.features) == (name, features) and metric in record.metrics
        )

    comparisons = {
        metric: Comparison(
            value("own", metric), value("residual", metric), value("pretrained", metric)
        )
        for metric in metrics
    }
    return Row(name, comparisons)


def _mean_row(rows: Sequence[Row], metrics: Sequence[str]) -> Row:
    means = {}
    for metric in metrics:
        cells = [row.metrics[metric] for row in rows]
        known = {f for f in FEATURES for cell in cells if _has(cell, f)}
        compared = known & {"own", "pretrained"} or known
        shared = [cell for cell in cells if all(_has(cell, f) for f in compared)]
        means[metric] = Comparison(
            _mean(cell.own for cell in shared),
            _mean(cell.residual for cell in shared),
            _mean(cell.pretrained for cell in shared),
            len(shared),
        )
    return Row("mean", means)


def _has(cell: Comparison, features: str) -> bool:
    return not math.isnan(getattr(cell, features))


def _mean(values: Iterable[float]) -> float:
    """Mean, nan for no values or where one is nan."""
    values = list(values)
    return fmean(values) if values else math.nan
