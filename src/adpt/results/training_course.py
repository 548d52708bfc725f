"""The course of trained methods to their results: epochs, and metrics from early to late."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean

from adpt.results.budget import footnote
from adpt.results.metric_names import SHOWN, in_order, title
from adpt.results.record import FEATURES, Record
from adpt.results.summary import Summary
from adpt.results.table import Block, Column, Figure, Line, Table
from adpt.results.words import percent

_EPOCHS = 6


def training_table(summary: Summary, metrics: Sequence[str] = SHOWN) -> Table | None:
    """Metrics of a trained method from early to late; None where none were looked at.

    For each kind of features it has the mean over classes and seeds after some of the epochs that
    were looked at in all of them, the first and the last included.

    Args:
        summary: One of `summarise`.
        metrics: Names of metrics; those that were not looked at are left out.
    """
    looked_at = {name for r in summary.records for entry in r.history for name in entry}
    shown = [metric for metric in metrics if metric in looked_at]
    epochs = _chosen(_epochs(summary.records))
    if not epochs or not shown:
        return None
    lines = [
        Line(features, tuple(_figures(of, epoch, shown) for epoch in epochs))
        for features in FEATURES
        if (of := [r for r in summary.records if r.features == features and r.history])
    ]
    what = " / ".join(title(metric) for metric in shown)
    return Table(
        f"{summary.dataset} · {summary.name}: early to late",
        f"{what} in percent after so many epochs, mean over classes and seeds. {summary.setting}.",
        (Column("features"), *(Column(f"{epoch}", "epochs") for epoch in epochs)),
        (Block("", tuple(lines)),),
        (footnote(summary.method, summary.budget),) if summary.budget else (),
    )


def epochs_in_words(records: Sequence[Record]) -> list[str]:
    """Epochs of training and, under protocol `paper`, those that were chosen.

    Args:
        records: Of one summary; empty for methods that are not trained.
    """
    found = {name for record in records for name in record.epochs}
    sentences = []
    if "trained" in found:
        sentences.append(f"Trained for {_range(records, 'trained')} epochs.")
    chosen = in_order(found - {"trained"})
    best = [f"{title(metric)} {_range(records, metric)}" for metric in chosen]
    if best:
        sentences.append(f"Best epoch, chosen on test data: {', '.join(best)}.")
    return sentences


def _epochs(records: Iterable[Record]) -> list[int]:
    """Epochs that were looked at in all records that have a history."""
    looked_at = [{int(entry["epoch"]) for entry in r.history} for r in records if r.history]
    return sorted(set.intersection(*looked_at)) if looked_at else []


def _chosen(epochs: Sequence[int]) -> list[int]:
    if len(epochs) <= _EPOCHS:
        return list(epochs)
    step = (len(epochs) - 1) / (_EPOCHS - 1)
    return [epochs[round(number * step)] for number in range(_EPOCHS)]


def _figures(records: Iterable[Record], epoch: int, metrics: Sequence[str]) -> tuple[Figure, ...]:
    entries = [e for record in records for e in record.history if int(e["epoch"]) == epoch]
    found = ([entry.get(metric) for entry in entries] for metric in metrics)
    # As in the mean of the last epoch, classes that do not define a metric are left out; on disk
    # theirs is null.
    known = ([v for v in values if v is not None and not math.isnan(v)] for values in found)
    return tuple(Figure(percent(fmean(values) if values else math.nan)) for values in known)


def _range(records: Iterable[Record], name: str) -> str:
    numbers = [record.epochs[name] for record in records if name in record.epochs]
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"
