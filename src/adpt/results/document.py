"""All tables of some records as one Markdown or LaTeX file."""

from collections.abc import Iterable, Sequence

from adpt.results.compare import class_table, overviews
from adpt.results.conditions import commands, facts
from adpt.results.cost_tables import cost_tables
from adpt.results.latex import to_latex
from adpt.results.markdown import escape, to_markdown
from adpt.results.metric_names import SHOWN
from adpt.results.record import Record, latest
from adpt.results.reported import Reported, reported_table
from adpt.results.standings import standings
from adpt.results.summary import Summary, summarise
from adpt.results.table import Table
from adpt.results.training_course import training_table
from adpt.results.words import LEGEND

_AT_ONCE = 6
"""Entries of a list that are shown without unfolding it."""


def markdown_report(
    records: Iterable[Record],
    title: str,
    metrics: Sequence[str] = SHOWN,
    reported: Reported | None = None,
) -> str:
    """A Markdown document: tables, and what is known of the origin of their numbers.

    Args:
        records: Records of any data sets and methods; of one taken twice the later one counts.
        title: Its title.
        metrics: Names of metrics that its tables show.
        reported: Results of others, to stand beside ours where they may.
    """
    records = latest(records)
    means, classes = _tables(records, metrics, reported)
    parts = [f"# {escape(title)}\n", f"{escape(LEGEND)}\n"]
    if means:
        parts += ["## Means over classes\n", *map(to_markdown, means)]
    parts += ["## Per class\n", *map(to_markdown, classes)]
    return "\n".join([*parts, "## How these results were made\n", *_conditions(records)])


def markdown_tables(records: Iterable[Record], metrics: Sequence[str] = SHOWN) -> str:
    """The tables alone, means first, under headings of the third level."""
    means, classes = _tables(latest(records), metrics)
    return "\n".join(map(to_markdown, [*means, *classes]))


def latex_tables(
    records: Iterable[Record],
    metrics: Sequence[str] = SHOWN,
    reported: Reported | None = None,
) -> str:
    """The tables of `markdown_report` as a LaTeX file, to be read into a document."""
    means, classes = _tables(latest(records), metrics, reported)
    return to_latex([*means, *classes])


def mean_tables(
    summaries: Sequence[Summary], metrics: Sequence[str], reported: Reported | None = None
) -> list[Table]:
    """Methods by data sets and against each other, and ours beside what others report."""
    found = [*overviews(summaries, metrics), *standings(summaries, metrics)]
    found = found if len(summaries) > 1 else []
    beside = reported_table(summaries, reported)
    return [*found, beside] if beside else found


def _tables(
    records: Sequence[Record], metrics: Sequence[str], reported: Reported | None = None
) -> tuple[list[Table], list[Table]]:
    summaries = summarise(records)
    classes = [
        table
        for summary in summaries
        for table in (class_table(summary, metrics), training_table(summary, metrics))
        if table
    ]
    means = mean_tables(summaries, metrics, reported)
    return [*means, *cost_tables(summaries, metrics)], classes


def _conditions(records: Sequence[Record]) -> list[str]:
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
