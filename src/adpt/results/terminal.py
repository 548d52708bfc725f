"""Tables on the terminal."""

import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from adpt.results.compare import class_table, overviews
from adpt.results.cost_tables import cost_tables
from adpt.results.metric_names import SHOWN
from adpt.results.record import Record
from adpt.results.standings import standings
from adpt.results.summary import Summary, summarise
from adpt.results.table import Block, Cell, Figure, Table
from adpt.running.names import printable_text

_WIDTH = 140
_BESIDE = 3
"""Metrics beside each other in a table of classes; with intervals one has its width."""
_COLOURS = {1: "green", -1: "red"}


def print_table(
    records: Iterable[Record],
    console: Console | None = None,
    metrics: Sequence[str] = SHOWN,
) -> None:
    """Print own, residual and pretrained features with their differences in points.

    One table per data set, method and setting, class by class; after several of them, methods by
    data sets.

    Args:
        records: Records of any data sets and methods.
        console: Where to print; default: standard output.
        metrics: Names of metrics.
    """
    summaries = summarise(records)
    shown = [
        class_table(summary, some) for summary in summaries for some in _beside(summary, metrics)
    ]
    if len(summaries) > 1:
        shown += [*overviews(summaries, metrics), *standings(summaries, metrics)]
    shown += cost_tables(summaries, metrics)
    for table in shown:
        print_one(table, console)


def _beside(summary: Summary, metrics: Sequence[str]) -> list[Sequence[str]]:
    """The recorded ones of some metrics, as many together as a table has room for."""
    cells = summary.mean.metrics
    recorded = [metric for metric in metrics if metric in cells]
    room = 1 if any(cell.intervals for cell in cells.values()) else _BESIDE
    return [recorded[start : start + room] for start in range(0, len(recorded), room)]


def print_one(table: Table, console: Console | None = None) -> None:
    """Print one table with its title, caption and notes, to standard output by default."""
    # Files and pipes have no width of their own; Rich would take 80.
    console = console or Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(_text(table.title, "bold"))
    console.print(_text(table.caption, "dim"))
    shown = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1))
    shown.add_column(_text(table.columns[0].name), overflow="fold", vertical="bottom")
    for column, edge in zip(table.columns[1:], table.edges, strict=True):
        # What stands over several columns is said once, over the first of them.
        over = column.over if edge else ""
        name = f"{over}\n{column.name}" if column.over else column.name
        shown.add_column(_text(name), justify="right")
    for block in table.blocks:
        shown.add_section()
        style = "bold" if table.foot and block is table.blocks[-1] else ""
        for cells in _rows(block):
            shown.add_row(*cells, style=style)
    console.print(shown)
    for note in table.notes:
        console.print(_text(note, "yellow"))


def _rows(block: Block) -> "Iterable[list[Text]]":
    if block.name:
        yield [_text(block.name, "bold")]
    for line in block.lines:
        yield [_text(line.name), *map(_cell, line.cells)]


def _cell(cell: Cell) -> Text:
    return _text(" / ").join(_text(figure.text, _style(figure)) for figure in cell)


def _style(figure: Figure) -> str:
    if figure.best or figure.second:
        return "bold" if figure.best else "underline"
    return _COLOURS.get(figure.trend, "")


def _text(said: str, style: str = "") -> Text:
    """Text that gives a terminal no orders, wherever the results come from."""
    return Text(printable_text(said), style)
