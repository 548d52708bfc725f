"""Methods against each other on one kind of features, the best and second best of each column."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from adpt.results.blanks import blanks
from adpt.results.budget import footnote
from adpt.results.caution import cautions
from adpt.results.compare import conditions_of, incomplete, mean_in
from adpt.results.metric_names import SHOWN, title
from adpt.results.record import FEATURES
from adpt.results.row_names import Key, keys_of, name_of, order_of, unmarked, with_classes
from adpt.results.summary import NOTHING, Comparison, Summary, mean_of
from adpt.results.table import UNKNOWN, Block, Column, Figure, Line, Table
from adpt.results.words import percent, setting_in_words


def standings(summaries: Sequence[Summary], metrics: Sequence[str] = SHOWN) -> list[Table]:
    """A table for each backbone, protocol, setting and kind of features that has several methods.

    A line is a method, a column one metric on one data set, or on the mean of several. Marked are
    the best and the second best of those whose mean is over as many classes as any; ties share a
    mark.

    Args:
        summaries: What `summarise` gives.
        metrics: Names of metrics.
    """
    tables: dict[tuple[str, ...], list[Summary]] = defaultdict(list)
    for summary in summaries:
        setting = json.dumps(summary.varied, sort_keys=True)
        for kind in summary.features:
            tables[summary.backbone, summary.protocol, setting, kind].append(summary)
    # Own features first, as everywhere.
    order = sorted(tables, key=lambda of: FEATURES.index(of[-1]))
    several = [of for of in order if len({summary.method for summary in tables[of]}) > 1]
    return [_standing(tables[of], metrics, of[-1]) for of in several]


def _standing(summaries: Sequence[Summary], metrics: Sequence[str], kind: str) -> Table:
    metrics = [m for m in metrics if any(m in s.mean.metrics for s in summaries)]
    datasets = list(dict.fromkeys(summary.dataset for summary in summaries))
    rows: dict[Key, dict[str, Summary]] = {}
    for summary, key in zip(summaries, keys_of(summaries), strict=True):
        rows.setdefault(key, {})[summary.dataset] = summary
    ordered = sorted(rows, key=lambda key: order_of(key, list(rows)))
    columns, values = [Column("method")], []
    for metric in metrics:
        of_sets = [[mean_in(rows[key].get(name), metric) for key in ordered] for name in datasets]
        headings = [with_classes(name, summaries) for name in datasets]
        if len(datasets) > 1:
            means = [mean_of(of_row) for of_row in zip(*of_sets, strict=True)]
            of_sets.append([m if m.classes == len(datasets) else NOTHING for m in means])
            headings.append(f"mean of {len(datasets)} sets")
        columns += [Column(heading, title(metric)) for heading in headings]
        values += [_marked(column, kind) for column in of_sets]
    lines = [
        Line(name_of(key, rows), tuple((figure,) for figure in figures))
        for key, figures in zip(ordered, zip(*values, strict=True), strict=True)
    ]
    budgets = {unmarked(key): s.budget for key in ordered for s in rows[key].values() if s.budget}
    named = {
        f"{name} · {name_of(key, rows)}: ": summary
        for key in ordered
        for name, summary in rows[key].items()
    }
    records = [record for summary in summaries for record in summary.records]
    notes = [
        *(footnote(method, budget) for method, budget in budgets.items()),
        *incomplete(named, metrics),
        *blanks(records, metrics),
        *cautions(records),
    ]
    heading = ", ".join(
        [
            f"{summaries[0].backbone}: methods on {kind} features",
            *setting_in_words(summaries[0].varied),
        ]
    )
    return Table(
        heading,
        f"{conditions_of(summaries, metrics)} Best of each column bold, second best underlined.",
        tuple(columns),
        (Block("", tuple(lines)),),
        tuple(notes),
    )


def _marked(column: Sequence[Comparison], kind: str) -> Iterable[Figure]:
    """A figure for each method; equal as shown is a tie."""
    shown = [percent(getattr(one, kind)) for one in column]
    most = max(one.classes for one in column)
    held = [
        float(text) if text != UNKNOWN.text and one.classes == most else None
        for text, one in zip(shown, column, strict=True)
    ]
    known = [value for value in held if value is not None]
    # One alone is the best of nothing.
    best = sorted(set(known), reverse=True) if len(known) > 1 else []
    first, second, *_ = [*best, None, None]
    for one, value in zip(column, held, strict=True):
        figure = Figure(percent(getattr(one, kind), one.deviation(kind)))
        yield replace(
            figure,
            best=value is not None and value == first,
            second=value is not None and value == second,
        )
