"""Tables as Markdown, as GitHub reads it."""

import re
from collections.abc import Sequence

from adpt.results.layout import Block, Cell, Figure, Line, Table


def to_markdown(table: Table, level: int = 3) -> str:
    """A heading, the caption, the table and its notes, with a line break at the end.

    Args:
        table: The table; without lines, only its text is written.
        level: Of its heading.
    """
    parts = [f"{'#' * level} {escape(table.title)}", escape(table.caption)]
    if table.blocks:
        parts.append("\n".join(_rows(table)))
    parts += [f"> {escape(note)}" for note in table.notes]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#&~$])", r"\\\1", " ".join(text.split()))


def _rows(table: Table) -> list[str]:
    names = [
        escape(f"{column.over}: {column.name}" if column.over else column.name)
        for column in table.columns
    ]
    rows = [_row(names), _row(["---", *["---:"] * (len(names) - 1)])]
    for block in table.blocks:
        rows += _block(block, len(names), foot=table.foot and block is table.blocks[-1])
    return rows


def _block(block: Block, width: int, foot: bool) -> list[str]:
    head = [_row([f"**{escape(block.name)}**", *[""] * (width - 1)])] if block.name else []
    return head + [_row([_name(line, foot), *map(_cell, line.cells)]) for line in block.lines]


def _name(line: Line, foot: bool) -> str:
    return f"**{escape(line.name)}**" if foot else escape(line.name)


def _cell(cell: Cell) -> str:
    return " / ".join(map(_figure, cell))


def _figure(figure: Figure) -> str:
    return f"**{escape(figure.text)}**" if figure.best else escape(figure.text)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
