"""Results on the terminal and as CSV."""

import csv
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adpt.files import replacing
from adpt.results.record import Record, latest
from adpt.results.summary import METRICS, Comparison, Row, Summary, percent, points, summarise

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_SHOWN = ("image_auroc", "pixel_ap", "pixel_aupro")
_TRACE = ("commit", "config_sha256", "created")


def print_table(
    records: Iterable[Record],
    console: "Console | None" = None,
    metrics: Sequence[str] = _SHOWN,
) -> None:
    """Print own → pretrained with the difference in points, per class and on average.

    One table per data set, method and setting, 100 columns wide with three metrics. Residual
    features stand between the two where they were recorded.

    Args:
        records: Records of any data sets and methods.
        console: Where to print; default: standard output.
        metrics: Names of `METRICS`.
    """
    from rich.console import Console
    from rich.text import Text

    # Files and pipes have no width of their own; Rich would take 80.
    console = console or Console(width=None if sys.stdout.isatty() else 100)
    for summary in summarise(records):
        console.print(Text(f"{summary.dataset} · {summary.method}", "bold"))
        console.print(Text(summary.setting, "dim"))
        console.print(_table(summary, metrics))
        if short := _short_means(summary, metrics):
            console.print(f"mean: {short} of {len(summary.rows)} classes\n")


def to_csv(records: Iterable[Record], path: str | Path) -> None:
    """Write one row per result, with all metrics as fractions and empty cells for nan.

    Of a result that was recorded twice the later one is written.

    Args:
        records: Records of any data sets and methods.
        path: The file, replaced whole if it exists.

    Raises:
        UserError: The file could not be written.
    """
    rows = [_csv_row(record) for record in latest(records)]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with (
        replacing(Path(path)) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _table(summary: Summary, metrics: Sequence[str]) -> Any:
    from rich import box
    from rich.table import Table

    metrics = [metric for metric in metrics if metric in summary.mean.metrics]
    rows = [*summary.rows, summary.mean]
    with_residual = any(
        not math.isnan(row.metrics[metric].residual) for row in rows for metric in metrics
    )
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
    )
    features = "own → residual → pretrained" if with_residual else "own → pretrained"
    table.add_column("class", overflow="fold")
    for metric in metrics:
        table.add_column(f"{METRICS[metric]}\n{features}", justify="right")
    for row in rows:
        if row is summary.mean:
            table.add_section()
        style = "bold" if row is summary.mean else ""
        table.add_row(*_cells(row, metrics, with_residual), style=style)
    return table


def _short_means(summary: Summary, metrics: Sequence[str]) -> str:
    means = summary.mean.metrics
    counts = {metric: means[metric].classes for metric in metrics if metric in means}
    total = len(summary.rows)
    return ", ".join(f"{METRICS[m]} over {n}" for m, n in counts.items() if n < total)


def _cells(row: Row, metrics: Sequence[str], with_residual: bool) -> "list[Text]":
    from rich.text import Text

    cells = (_cell(row.metrics[metric], with_residual) for metric in metrics)
    return [Text(row.name), *cells]


def _cell(comparison: Comparison, with_residual: bool) -> "Text":
    from rich.text import Text

    values = [comparison.own, comparison.residual, comparison.pretrained]
    if not with_residual:
        values.pop(1)
    difference = points(comparison.difference)
    colour = {"+": "green", "−": "red"}.get(difference[0], "")
    text = Text(" → ".join(f"{percent(value):>4}" for value in values))
    return text.append(f" {difference:>5}", colour)


def _csv_row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {
        name: getattr(record, name)
        for name in ("dataset", "class_name", "method", "features", "backbone")
    }
    row |= {name: getattr(record, name) for name in ("protocol", "seed", "shots")}
    metrics = dict.fromkeys(list(METRICS)[:7], math.nan) | record.metrics
    row |= {name: "" if math.isnan(value) else value for name, value in metrics.items()}
    row |= {f"count_{name}": value for name, value in record.counts.items()}
    row |= {f"seconds_{name}": value for name, value in record.seconds.items()}
    row |= {
        name: getattr(record, name) for name in ("projector", "projector_sha256", "backbone_sha256")
    }
    return row | {name: record.provenance.get(name) for name in _TRACE}
