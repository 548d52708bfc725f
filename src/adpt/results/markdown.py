"""Tables as Markdown, as GitHub reads it."""

import re
from collections.abc import Iterable, Iterator

from adpt.results.table import Figure, Table


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


def _rows(table: Table) -> Iterator[str]:
    names = [f"{c.over}: {c.name}" if c.over else c.name for c in table.columns]
    yield _row(map(escape, names))
    yield _row(["---", *["---:"] * (len(names) - 1)])
    for block in table.blocks:
        if block.name:
            yield _row([f"**{escape(block.name)}**", *[""] * (len(names) - 1)])
        bold = "**" * (table.foot and block is table.blocks[-1])
        for line in block.lines:
            cells = (" / ".join(map(_figure, cell)) for cell in line.cells)
            yield _row([f"{bold}{escape(line.name)}{bold}", *cells])


def _figure(figure: Figure) -> str:
    text = escape(figure.text)
    return f"**{text}**" if figure.best else f"<ins>{text}</ins>" if figure.second else text


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
