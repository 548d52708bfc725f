"""Methods by data sets, as in the paper's tables, and one method class by class."""

import json
from collections.abc import Iterable, Mapping, Sequence

from adpt.results.blanks import blanks
from adpt.results.budget import footnote
from adpt.results.caution import cautions
from adpt.results.metric_names import SHOWN, title
from adpt.results.paired import MEANING, over_classes
from adpt.results.record import FEATURES, Record
from adpt.results.row_names import Key, keys_of, name_of, order_of, unmarked, with_classes
from adpt.results.summary import NOTHING, Compared, Comparison, Summary, mean_of
from adpt.results.table import (
    MINUS,
    UNKNOWN,
    Block,
    Cell,
    Column,
    Figure,
    Line,
    Table,
    gain,
    values,
)
from adpt.results.training_course import epochs_in_words
from adpt.results.words import PROTOCOL_MEANING, listed, references_in_words, setting_in_words

_OVER_CLASSES = "gain over classes"
_BLANK: Cell = (Figure(""),)


def overviews(summaries: Sequence[Summary], metrics: Sequence[str] = SHOWN) -> list[Table]:
    """Methods by data sets, a table for each backbone, protocol and setting.

    Each method has a line for each kind of features and for what pretrained ones add to own and to
    residual ones; numbers of references and projectors that differ are told apart like methods. The
    mean over data sets is that of `mean_of`.

    Args:
        summaries: What `summarise` gives.
        metrics: Names of metrics; a cell shows them with slashes between.
    """
    tables: dict[tuple[str, ...], list[Summary]] = {}
    for summary in summaries:
        setting = json.dumps(summary.varied, sort_keys=True)
        tables.setdefault((summary.backbone, summary.protocol, setting), []).append(summary)
    return [_overview(chosen, metrics) for chosen in tables.values()]


def class_table(summary: Summary, metrics: Sequence[str] = SHOWN) -> Table:
    """One method on one data set, a line for each class and one for their mean.

    Args:
        summary: One of `summarise`.
        metrics: Names of metrics; those that were not recorded are left out.
    """
    metrics = [metric for metric in metrics if metric in summary.mean.metrics]
    kinds = summary.features
    minus = [other for other in MINUS if {other, "pretrained"} <= set(kinds)]
    names = [*kinds, *(f"vs {other}" for other in minus)]
    columns = [Column(name, title(metric)) for metric in metrics for name in names]

    def line(row: Compared) -> Line:
        return Line(row.name, tuple(c for m in metrics for c in _cells(row.metrics[m], kinds)))

    notes = [footnote(summary.method, summary.budget)] if summary.budget else []
    notes += incomplete({"": summary}, metrics)
    notes += [*blanks(summary.records, metrics), *cautions(summary.records)]
    tests = Line(
        _OVER_CLASSES,
        tuple(c for m in metrics for c in _tests(summary.mean.metrics[m], kinds)),
    )
    tested = any(cell != _BLANK for cell in tests.cells)
    foot = (line(summary.mean), *[tests] * tested)
    return Table(
        f"{summary.dataset} · {summary.name}",
        " ".join([caption(summary), *[MEANING] * tested]),
        (Column("class"), *columns),
        (Block("", tuple(map(line, summary.rows))), Block("", foot)),
        tuple(notes),
        foot=True,
    )


def caption(summary: Summary) -> str:
    """Setting, spread and training of one summary, in sentences."""
    parts = [f"{summary.setting}."]
    if len(summary.seeds) > 1:
        parts.append(_spread(summary))
    parts += _bracketed([summary])
    return " ".join([*parts, *epochs_in_words(summary.records)])


def _bracketed(summaries: Iterable[Summary]) -> list[str]:
    """The sentence on figures in brackets, where there are any."""
    rows = [row for summary in summaries for row in summary.rows]
    if not any(cell.intervals for row in rows for cell in row.metrics.values()):
        return []
    return [
        "In brackets behind a figure 95 % over resamples of the test images; of a mean, of all"
        " classes independently."
    ]


def _spread(summary: Summary) -> str:
    varying = [features for features in summary.features if features not in summary.fixed]
    if not varying:
        return "All seeds give the same."
    without = "; without ± what is the same for all seeds" if summary.fixed else ""
    return f"Mean ± standard deviation over seeds{without}."


def _cells(comparison: Comparison, kinds: Sequence[str]) -> Iterable[Cell]:
    figures = values(comparison)
    yield from ((figures[kind],) for kind in kinds)
    for other, name in MINUS.items():
        if {other, "pretrained"} <= set(kinds):
            yield (gain(getattr(comparison, name)),)


def _tests(mean: Comparison, kinds: Sequence[str]) -> Iterable[Cell]:
    """Below the cells of a mean, those that say how sure its gains are."""
    yield from (_BLANK for _ in kinds)
    for other, name in MINUS.items():
        if {other, "pretrained"} <= set(kinds):
            yield _tested([mean], name)


def _overview(summaries: Sequence[Summary], metrics: Sequence[str]) -> Table:
    metrics = [m for m in metrics if any(m in s.mean.metrics for s in summaries)]
    datasets = list(dict.fromkeys(summary.dataset for summary in summaries))
    keys = keys_of(summaries)
    rows: dict[Key, dict[str, Summary]] = {}
    for summary, key in zip(summaries, keys, strict=True):
        rows.setdefault(key, {})[summary.dataset] = summary
    several = len(datasets) > 1
    columns = [Column(with_classes(name, summaries)) for name in datasets]
    if several:
        columns.append(Column(f"mean of {len(datasets)} sets"))
    notes: list[str] = []
    blocks = []
    for key, by_dataset in sorted(rows.items(), key=lambda item: order_of(item[0], list(rows))):
        name = name_of(key, rows)
        cells = [[mean_in(by_dataset.get(d), m) for m in metrics] for d in datasets]
        if several:
            means = [mean_of([cell[i] for cell in cells]) for i in range(len(metrics))]
            # A mean over other sets than the rest of its column would be held against them.
            cells.append([m if m.classes == len(datasets) else NOTHING for m in means])
            complete = min(mean.classes for mean in means)
            if complete < len(datasets):
                have = f"{complete} of {len(datasets)}"
                notes.append(f"{name}: no mean over data sets, for {have} are complete.")
        of_key = list(by_dataset.values())
        if of_key[0].budget:
            notes.append(footnote(unmarked(key), of_key[0].budget))
        recorded = {features for summary in of_key for features in summary.features}
        blocks.append(Block(name, _lines(cells, [f for f in FEATURES if f in recorded])))
    tested = any(line.name == _OVER_CLASSES for block in blocks for line in block.lines)
    named = {f"{s.dataset} · {name_of(k, rows)}: ": s for s, k in zip(summaries, keys, strict=True)}
    notes += incomplete(named, metrics)
    records = [record for summary in summaries for record in summary.records]
    notes = [*dict.fromkeys(notes), *blanks(records, metrics), *cautions(records)]
    return Table(
        ", ".join(
            [
                f"{summaries[0].backbone}: methods by data sets",
                *setting_in_words(summaries[0].varied),
            ]
        ),
        " ".join([conditions_of(summaries, metrics), *[MEANING] * tested]),
        (Column("method"), *columns),
        tuple(blocks),
        tuple(notes),
    )


def _lines(cells: Sequence[Sequence[Comparison]], kinds: Sequence[str]) -> tuple[Line, ...]:
    figures = [[values(comparison) for comparison in cell] for cell in cells]
    lines = [Line(k, tuple(_pair(f[k] for f in cell) for cell in figures)) for k in kinds]
    for other, name in MINUS.items():
        if {other, "pretrained"} <= set(kinds):
            gains = tuple(_pair(gain(getattr(c, name)) for c in cell) for cell in cells)
            lines.append(Line(f"pretrained − {other}", gains))
            tests = tuple(_tested(cell, name) for cell in cells)
            if any(cell != _BLANK for cell in tests):
                lines.append(Line(_OVER_CLASSES, tests))
    return tuple(lines)


def _tested(comparisons: Sequence[Comparison], difference: str) -> Cell:
    found = tuple(over_classes(one, difference) for one in comparisons)
    return found if any(figure.text for figure in found) else _BLANK


def _pair(figures: Iterable[Figure]) -> Cell:
    cell = tuple(figures)
    return cell if any(figure != UNKNOWN for figure in cell) else (UNKNOWN,)


def mean_in(summary: Summary | None, metric: str) -> Comparison:
    """A summary's mean of a metric, or `NOTHING`."""
    return summary.mean.metrics.get(metric, NOTHING) if summary else NOTHING


def incomplete(summaries: Mapping[str, Summary], metrics: Sequence[str]) -> list[str]:
    """Notes on means without some classes or seeds, or over fewer classes than their neighbours."""
    most: dict[str, int] = {}
    for summary in summaries.values():
        most[summary.dataset] = max(most.get(summary.dataset, 0), len(summary.rows))
    notes = []
    for name, summary in summaries.items():
        total = most[summary.dataset]
        by_count: dict[int, list[str]] = {}
        for metric in metrics:
            if metric in summary.mean.metrics:
                by_count.setdefault(summary.mean.metrics[metric].classes, []).append(title(metric))
        for number, shown in by_count.items():
            if number < total:
                notes.append(f"{name}mean of {listed(shown)} over {number} of {total} classes.")
        if _uneven(summary.records):
            notes.append(
                f"{name}not every class has every seed; the deviation of the mean is over the"
                " seeds that all its classes have."
            )
    return notes


def _uneven(records: Sequence[Record]) -> bool:
    seeds: dict[tuple[str, str], set[int]] = {}
    for record in records:
        seeds.setdefault((record.features, record.class_name), set()).add(record.seed)
    different = {(features, frozenset(found)) for (features, _), found in seeds.items()}
    return len(different) > len({features for features, _ in different})


def conditions_of(summaries: Sequence[Summary], metrics: Sequence[str]) -> str:
    """A sentence on what a table of these summaries shows, and under which conditions."""
    first = summaries[0]
    seeds = sorted({seed for summary in summaries for seed in summary.seeds})
    parts = [f"{first.protocol} protocol ({PROTOCOL_MEANING[first.protocol]})"]
    parts += setting_in_words(first.varied)
    if "aligned" not in first.varied:
        parts += references_in_words(record for one in summaries for record in one.records)
    parts.append(f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}")
    spread = ", mean ± standard deviation over seeds" if len(seeds) > 1 else ""
    shown = " / ".join(title(metric) for metric in metrics)
    caption = f"{shown} in percent{spread}; {'; '.join(parts)}."
    return " ".join([caption, *_bracketed(summaries)])
