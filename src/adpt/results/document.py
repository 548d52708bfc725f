"""All tables of some records as one Markdown or LaTeX file."""

from collections.abc import Iterable, Sequence

from adpt.results.compare import class_table, overviews
from adpt.results.latex import to_latex
from adpt.results.layout import Table
from adpt.results.markdown import escape, to_markdown
from adpt.results.origin import commands, facts
from adpt.results.published import published_table
from adpt.results.record import Record, latest
from adpt.results.summary import SHOWN, summarise
from adpt.results.training import training_table
from adpt.results.words import LEGEND

_AT_ONCE = 6
"""Entries of a list that are shown without unfolding it."""


def markdown_report(records: Iterable[Record], title: str, metrics: Sequence[str] = SHOWN) -> str:
    """A Markdown document: tables, and what is known of the origin of their numbers.

    Args:
        records: Records of any data sets and methods; of one taken twice the later one counts.
        title: Its title.
        metrics: Names of `METRICS` that its tables show.
    """
    records = latest(records)
    means, classes = _tables(records, metrics)
    parts = [f"# {escape(title)}\n", f"{escape(LEGEND)}\n"]
    if means:
        parts += ["## Means over classes\n", *map(to_markdown, means)]
    parts += ["## Per class\n", *map(to_markdown, classes)]
    return "\n".join([*parts, "## How these results were made\n", *_origin(records)])


def markdown_tables(records: Iterable[Record], metrics: Sequence[str] = SHOWN) -> str:
    """The tables alone, means first, under headings of the third level.

    Args:
        records: Records of any data sets and methods; of one taken twice the later one counts.
        metrics: Names of `METRICS` that its tables show.
    """
    means, classes = _tables(latest(records), metrics)
    return "\n".join(map(to_markdown, [*means, *classes]))


def latex_tables(records: Iterable[Record], metrics: Sequence[str] = SHOWN) -> str:
    """The same tables as a LaTeX file, to be read into a document.

    Args:
        records: Records of any data sets and methods; of one taken twice the later one counts.
        metrics: Names of `METRICS` that its tables show.
    """
    means, classes = _tables(latest(records), metrics)
    return to_latex([*means, *classes])


def _tables(records: Sequence[Record], metrics: Sequence[str]) -> tuple[list[Table], list[Table]]:
    summaries = summarise(records)
    means = overviews(summaries, metrics) if len(summaries) > 1 else []
    published = published_table(summaries)
    classes = []
    for summary in summaries:
        training = training_table(summary, metrics)
        classes += [class_table(summary, metrics), *([training] if training else [])]
    return [*means, published] if published else means, classes


def _origin(records: Sequence[Record]) -> list[str]:
    lines, long = [], []
    for name, texts in facts(records).items():
        if len(texts) <= _AT_ONCE:
            lines.append(f"- {name}: {'; '.join(map(escape, texts))}")
        else:
            entries = "\n".join(f"- {escape(text)}" for text in texts)
            long.append(_folded(f"{name}: {len(texts)} different", entries))
    typed = commands(records)
    if typed:
        text = "\n".join(["```", *typed, "```"])
        folded = _folded(f"{len(typed)} commands", text)
        long.append(folded if len(typed) > _AT_ONCE else f"{text}\n")
    return [*lines, "", *long]


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>\n"
