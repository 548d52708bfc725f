"""Tables as LaTeX, with booktabs."""

import re
from collections.abc import Iterable, Iterator

from adpt.results.table import Block, Figure, Line, Table

_PREAMBLE = """\
% Made by `python -m adpt.report`. Read it into a document with \\input{tables}.
% Its preamble needs: \\usepackage{booktabs,graphicx,xcolor}
\\providecolor{adptbetter}{RGB}{18,115,58}
\\providecolor{adptworse}{RGB}{179,38,30}
"""

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    # After a line's end, these would be read as its options.
    **{character: f"{{{character}}}" for character in "[]*"},
    **{character: f"\\{character}" for character in "&%$#_{}"},
}

_COLOURS = {1: "adptbetter", -1: "adptworse"}


def to_latex(tables: Iterable[Table]) -> str:
    """A file of table environments, to be read into a document; tables without lines are left out.

    Its first lines say which packages the document needs. No table is wider than the text.
    """
    return "\n".join([_PREAMBLE, *(_environment(table) for table in tables if table.blocks)])


def escape(text: str) -> str:
    """Text that LaTeX shows as it is, on one line."""
    characters = "".join(map(re.escape, _SPECIAL))
    return re.sub(f"[{characters}]", lambda found: _SPECIAL[found[0]], " ".join(text.split()))


def _environment(table: Table) -> str:
    caption = " ".join([f"{table.title}: {table.caption}", *table.notes])
    width = len(table.columns)
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{escape(caption)}}}\medskip",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        r"\toprule",
        *_head(table),
    ]
    for block in table.blocks:
        lines += [r"\midrule", *_block(block, width)]
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table}", ""]
    return "\n".join(lines)


def _head(table: Table) -> Iterator[str]:
    over = table.spans
    if any(name for name, _ in over):
        yield _row(rf"\multicolumn{{{number}}}{{c}}{{{escape(name)}}}" for name, number in over)
        start = 1
        for name, number in over:
            if name:
                yield rf"\cmidrule(lr){{{start}-{start + number - 1}}}"
            start += number
    yield _row(escape(column.name) for column in table.columns)


def _block(block: Block, width: int) -> Iterator[str]:
    if block.name:
        yield rf"\multicolumn{{{width}}}{{l}}{{\textit{{{escape(block.name)}}}}} \\"
    for line in block.lines:
        yield _line(line, indented=bool(block.name))


def _line(line: Line, indented: bool) -> str:
    name = rf"\quad {escape(line.name)}" if indented else escape(line.name)
    return _row([name, *(" / ".join(map(_figure, cell)) for cell in line.cells)])


def _figure(figure: Figure) -> str:
    text = escape(figure.text)
    if figure.best:
        return rf"\textbf{{{text}}}"
    if figure.second:
        return rf"\underline{{{text}}}"
    if figure.trend:
        return rf"\textcolor{{{_COLOURS[figure.trend]}}}{{{text}}}"
    return text


def _row(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"
