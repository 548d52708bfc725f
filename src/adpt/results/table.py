"""Results on the terminal and as CSV."""

import csv
import math
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adpt.results.budget import budget
from adpt.results.compare import class_table, overviews
from adpt.results.layout import Block, Cell, Table
from adpt.results.record import Record, latest
from adpt.results.summary import METRICS, SHOWN, summarise
from adpt.running.files import replacing
from adpt.running.names import spreadsheet_cell

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_TRACE = ("commit", "config_sha256", "created")
_WIDTH = 140
_COLOURS = {1: "green", -1: "red"}


def print_table(
    records: Iterable[Record],
    console: "Console | None" = None,
    metrics: Sequence[str] = SHOWN,
) -> None:
    """Print own, residual and pretrained features with their differences in points.

    One table per data set, method and setting, class by class; after several of them, methods by
    data sets.

    Args:
        records: Records of any data sets and methods.
        console: Where to print; default: standard output.
        metrics: Names of `METRICS`.
    """
    from rich.console import Console

    # Files and pipes have no width of their own; Rich would take 80.
    console = console or Console(width=None if sys.stdout.isatty() else _WIDTH)
    summaries = summarise(records)
    shown = [class_table(summary, metrics) for summary in summaries]
    if len(summaries) > 1:
        shown += overviews(summaries, metrics)
    for table in shown:
        _print(table, console)


def to_csv(records: Iterable[Record], path: str | Path) -> None:
    """Write one row per result, with all metrics as fractions and empty cells for nan.

    Of a result that was recorded twice the later one is written. What differs from the plain
    experiment stands in columns that begin with `setting_`, the method's options and epochs in such
    with `option_` and `epochs_`, and in words in `not_published`.

    Args:
        records: Records of any data sets and methods.
        path: The file, replaced whole if it exists.

    Raises:
        UserError: The file could not be written.
    """
    records = latest(records)
    rows = [_csv_row(record) for record in records]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with (
        replacing(Path(path)) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({k: spreadsheet_cell(v) for k, v in row.items()} for row in rows)


def _print(table: Table, console: "Console") -> None:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    console.print(Text(table.title, "bold"))
    console.print(Text(table.caption, "dim"))
    shown = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1))
    shown.add_column(Text(table.columns[0].name), overflow="fold", vertical="bottom")
    for before, column in pairwise(table.columns):
        # What stands over several columns is said once, over the first of them.
        over = column.over if column.over != before.over else ""
        name = f"{over}\n{column.name}" if column.over else column.name
        shown.add_column(Text(name), justify="right")
    for block in table.blocks:
        shown.add_section()
        style = "bold" if table.foot and block is table.blocks[-1] else ""
        for cells in _rows(block):
            shown.add_row(*cells, style=style)
    console.print(shown)
    for note in table.notes:
        console.print(Text(note, "yellow"))


def _rows(block: Block) -> "Iterable[list[Text]]":
    from rich.text import Text

    if block.name:
        yield [Text(block.name, "bold")]
    for line in block.lines:
        yield [Text(line.name), *map(_cell, line.cells)]


def _cell(cell: Cell) -> "Text":
    from rich.text import Text

    figures = (
        Text(figure.text, "bold" if figure.best else _COLOURS.get(figure.trend, ""))
        for figure in cell
    )
    return Text(" / ").join(figures)


def _csv_row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {
        name: getattr(record, name)
        for name in ("dataset", "class_name", "method", "features", "backbone")
    }
    row |= {name: getattr(record, name) for name in ("protocol", "seed", "shots")}
    row |= {f"setting_{name}": value for name, value in record.setting.items()}
    row |= {f"option_{name}": value for name, value in record.options.items()}
    row["not_published"] = ", ".join(budget([record]))
    metrics = dict.fromkeys(list(METRICS)[:7], math.nan) | record.metrics
    row |= {name: "" if math.isnan(value) else value for name, value in metrics.items()}
    row |= {f"epochs_{name}": value for name, value in record.epochs.items()}
    row |= {f"count_{name}": value for name, value in record.counts.items()}
    row |= {f"seconds_{name}": value for name, value in record.seconds.items()}
    row |= {
        name: getattr(record, name) for name in ("projector", "projector_sha256", "backbone_sha256")
    }
    return row | {name: record.provenance.get(name) for name in _TRACE}
