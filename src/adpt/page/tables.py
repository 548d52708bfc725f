"""Tables as HTML."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from adpt.page.markup import Markup, join, tag
from adpt.results import METRICS, SHOWN, Summary
from adpt.results.compare import class_table, overviews
from adpt.results.layout import Block, Cell, Figure, Line, Table, spans
from adpt.results.published import published_table
from adpt.results.training import training_table

_COLOURS = {1: "better", -1: "worse"}


def overview(summaries: Sequence[Summary], metrics: Sequence[str] = SHOWN) -> Markup:
    """Methods by data sets, then published numbers where they may stand beside ours.

    Args:
        summaries: What `summarise` gives.
        metrics: Names of `METRICS`.
    """
    found = overviews(summaries, metrics) if len(summaries) > 1 else []
    published = published_table(summaries)
    return join(map(_with_title, [*found, published] if published else found))


def section(summary: Summary, metrics: Sequence[str] = SHOWN) -> Markup:
    """One method on one data set: some metrics at once, the others and the training to unfold.

    Args:
        summary: One of `summarise`.
        metrics: Names of `METRICS` for the first table.
    """
    table = class_table(summary, metrics)
    recorded = [m for m in METRICS if m in summary.mean.metrics and m not in metrics]
    # Two by two, so that a wide screen shows a table whole.
    others = [class_table(summary, recorded[i : i + 2]) for i in range(0, len(recorded), 2)]
    training = training_table(summary, metrics)
    parts = [_with_title(table)]
    if others:
        said = dict.fromkeys(note for other in others for note in other.notes)
        notes = _notes(note for note in said if note not in table.notes)
        content = [*map(_scrolling, others), *notes]
        parts.append(tag("details", tag("summary", "Other metrics"), *content))
    if training:
        caption = tag("p", training.caption, class_="note")
        content = [caption, _scrolling(training), *_notes(training.notes)]
        parts.append(tag("details", tag("summary", "Training"), *content))
    return tag("section", *parts)


def _with_title(table: Table) -> Markup:
    head = [tag("h3", table.title), tag("p", table.caption, class_="note")]
    return join([*head, _scrolling(table), *_notes(table.notes)])


def _notes(notes: Iterable[str]) -> list[Markup]:
    return [tag("p", note, class_="note caution") for note in notes]


def _scrolling(table: Table) -> Markup:
    if not table.blocks:
        return Markup()
    bodies = [
        tag("tfoot" if table.foot and block is table.blocks[-1] else "tbody", *_rows(block, table))
        for block in table.blocks
    ]
    # A region that scrolls must be reachable by keyboard.
    return tag("div", tag("table", _head(table), *bodies), class_="scroll", tabindex=0)


def _head(table: Table) -> Markup:
    over = spans(table.columns)
    if not any(name for name, _ in over):
        return tag("thead", tag("tr", *(tag("th", c.name, scope="col") for c in table.columns)))
    first, *others = table.columns
    top = [tag("th", name, colspan=number, scope="colgroup") for name, number in over[1:]]
    names = [
        tag("th", column.name, scope="col", class_=edge)
        for column, edge in zip(others, _edges(table), strict=True)
    ]
    heading = tag("th", first.name, rowspan=2, scope="col")
    return tag("thead", tag("tr", heading, *top), tag("tr", *names))


def _rows(block: Block, table: Table) -> list[Markup]:
    rows = []
    if block.name:
        width = len(table.columns)
        name = tag("th", tag("span", block.name), colspan=width, scope="rowgroup")
        rows.append(tag("tr", name, class_="block"))
    return rows + [_row(line, _edges(table)) for line in block.lines]


def _row(line: Line, edges: Sequence[str]) -> Markup:
    cells = (_cell(cell, edge) for cell, edge in zip(line.cells, edges, strict=True))
    return tag("tr", tag("th", tag("span", line.name), scope="row"), *cells)


def _cell(cell: Cell, edge: str) -> Markup:
    if len(cell) == 1:
        colour = _COLOURS.get(cell[0].trend, "")
        return tag("td", _figure(cell[0]), class_=f"{edge} {colour}".strip())
    figures = [tag("span", _figure(f), class_=_COLOURS.get(f.trend, "")) for f in cell]
    return tag("td", Markup(" / ".join(figures)), class_=edge)


def _figure(figure: Figure) -> str:
    return tag("b", figure.text) if figure.best else figure.text


def _edges(table: Table) -> list[str]:
    """A line before the first column of each group, where there are groups."""
    return [
        "edge" if after.over and after.over != before.over else ""
        for before, after in pairwise(table.columns)
    ]
