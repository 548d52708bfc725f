"""Costs of methods beside their accuracy: a line for each method and kind of features."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from adpt.results.compare import mean_in
from adpt.results.conditions import period
from adpt.results.metric_names import title
from adpt.results.record import Record
from adpt.results.row_names import name_among
from adpt.results.summary import Summary
from adpt.results.table import Block, Column, Figure, Line, Table
from adpt.results.words import distinct, listed, percent

_MEANING = (
    "Milliseconds an image: from decoded pixels to scores, through backbone, residuals, projector"
    " and method as they are there, median in batches of 1 and of 32; of it the method: its scoring"
    " alone. Fit: the method alone, on features that are there; once. Memory: the most that"
    " fitting, and scoring up to 32 images, take beside backbone and features. Size: of the fitted"
    " method."
)
_COLUMNS = {
    "fit_seconds": Column("seconds", "fit"),
    "ms_1": Column("batch 1", "ms an image"),
    "ms_32": Column("batch 32", "ms an image"),
    "method_ms_1": Column("batch 1", "of it the method"),
    "method_ms_32": Column("batch 32", "of it the method"),
    "fit_peak_mb": Column("fit", "memory, MB"),
    "score_peak_mb": Column("score", "memory, MB"),
    "size_mb": Column("MB", "size"),
}


@dataclass(frozen=True)
class Costed:
    """A method on one kind of features: accuracy and costs, each the mean over classes.

    Attributes:
        name: The method, with what tells it from the others beside it.
        kind: The features.
        metrics: Fractions by metric; nan where not known.
        costs: As of `Record.costs`, those that are known.
        records: What this is the mean of.
    """

    name: str
    kind: str
    metrics: dict[str, float]
    costs: dict[str, float]
    records: tuple[Record, ...]


def costed(summaries: Sequence[Summary], metrics: Sequence[str]) -> dict[str, list[Costed]]:
    """Methods and kinds of features by data set; none of sets without costs."""
    found: dict[str, list[Costed]] = {}
    for summary in summaries:
        beside = [one for one in summaries if one.dataset == summary.dataset]
        if any(record.costs for one in beside for record in one.records):
            for kind in summary.features:
                records = tuple(r for r in summary.records if r.features == kind)
                means = {m: getattr(mean_in(summary, m), kind) for m in metrics}
                name = name_among(summary, beside)
                one = Costed(name, kind, means, _mean_costs(records), records)
                found.setdefault(summary.dataset, []).append(one)
    return found


def cost_tables(summaries: Sequence[Summary], metrics: Sequence[str]) -> list[Table]:
    """A table for each data set that costs were measured on.

    Args:
        summaries: What `summarise` gives.
        metrics: Names of metrics, to stand before the costs.
    """
    return [_table(name, rows, metrics) for name, rows in costed(summaries, metrics).items()]


def _table(dataset: str, rows: Sequence[Costed], metrics: Sequence[str]) -> Table:
    blocks: dict[str, list[Line]] = {}
    for row in rows:
        accuracy = tuple(Figure(percent(row.metrics[metric])) for metric in metrics)
        costs = [(Figure(_shown(row.costs.get(name, math.nan))),) for name in _COLUMNS]
        blocks.setdefault(row.name, []).append(Line(row.kind, (accuracy, *costs)))
    shown = Column(" / ".join(map(title, metrics)), "accuracy")
    return Table(
        f"{dataset}: costs",
        " ".join([f"Means over classes, measured {_where(rows)}.", _MEANING]),
        (Column("method"), shown, *_COLUMNS.values()),
        tuple(Block(name, tuple(lines)) for name, lines in blocks.items()),
        tuple(_notes(rows)),
    )


def _mean_costs(records: Sequence[Record]) -> dict[str, float]:
    names = dict.fromkeys(name for record in records for name in record.costs)
    return {name: fmean(r.costs[name] for r in records if name in r.costs) for name in names}


def _where(rows: Sequence[Costed]) -> str:
    """Machine and time of the measurements."""
    records = [record for row in rows for record in row.records if record.costs]
    machines = distinct(str(record.provenance.get("costs_on", "")) for record in records)
    return ", ".join(filter(None, [f"on {listed(machines)}" if machines else "", period(records)]))


def _notes(rows: Sequence[Costed]) -> list[str]:
    notes = []
    machines = {r.provenance.get("costs_on") for row in rows for r in row.records if r.costs}
    if len(machines) > 1:
        notes.append("Costs of different machines say nothing of each other.")
    for row in rows:
        number = row.costs.get("classes", 1)
        if number > 1:
            notes.append(
                f"{row.name} is one model for {number:g} classes: seconds, memory and size are of"
                " the whole model."
            )
        known = sum("fit_seconds" in record.costs for record in row.records)
        if 0 < known < len(row.records):
            have = f"{known} of {len(row.records)}"
            notes.append(f"{row.name} on {row.kind} features: {have} results have all costs.")
    return list(dict.fromkeys(notes))


def _shown(value: float) -> str:
    """A number in three digits, and no more than two decimals."""
    if math.isnan(value):
        return "–"
    before = math.floor(math.log10(value)) + 1 if value >= 1 else 1
    return f"{value:.{max(0, min(2, 3 - before))}f}"
