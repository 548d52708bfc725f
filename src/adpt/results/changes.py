"""Changes between two folders of results, cell by cell."""

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from adpt.cli.values import differing
from adpt.results.metric_names import SHOWN, in_order, title
from adpt.results.record import Record, latest
from adpt.results.table import UNKNOWN, Block, Cell, Column, Figure, Line, Table, gain
from adpt.results.words import causes, few_listed, listed, percent, plural
from adpt.running.names import spreadsheet_cell
from adpt.running.whole_files import replacing

_CONDITIONS = ("backbone", "protocol", "seed", "shots", "projector", "projector_sha256")


@dataclass(frozen=True)
class Pair:
    """A result of the first folder and the one of the second that it is held against.

    Args:
        before: Of the first folder.
        after: Of the second: same set, class, method and features.
        causes: What differs of that which decides over them, in words.
    """

    before: Record
    after: Record
    causes: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """True if all metrics that both have are the same to the last digit."""
        shared = self.before.metrics.keys() & self.after.metrics.keys()
        return all(_same(self.before.metrics[m], self.after.metrics[m]) for m in shared)

    @property
    def lacking(self) -> list[str]:
        """Metrics that only one of the two has."""
        return in_order(
            [
                m
                for m in (self.before.metrics | self.after.metrics)
                if (m in self.before.metrics) != (m in self.after.metrics)
            ]
        )


@dataclass(frozen=True)
class Changes:
    """Results of two folders held against each other.

    Args:
        pairs: Results that both have.
        gone: Results that only the first has.
        new: Results that only the second has.
    """

    pairs: tuple[Pair, ...]
    gone: tuple[Record, ...]
    new: tuple[Record, ...]


def changes_between(before: Iterable[Record], after: Iterable[Record]) -> Changes:
    """Pair the results of two folders.

    Of several results of the same set, class, method and features (seeds, references, backbones)
    those are paired first in which least differs; each stands in one pair at most.

    Args:
        before: Records of the first folder; of one taken twice the later one counts.
        after: Records of the second one.
    """
    sides = [latest(before), latest(after)]
    groups: dict[tuple[str, ...], tuple[list[Record], list[Record]]] = defaultdict(lambda: ([], []))
    for side, records in enumerate(sides):
        for record in records:
            what = (record.dataset, record.class_name, record.method, record.features)
            groups[what][side].append(record)
    pairs: list[Pair] = []
    for firsts, seconds in groups.values():
        found = [Pair(one, other, _causes(one, other)) for one in firsts for other in seconds]
        # The seed decides first: records of one sweep differ from the other's in all else alike.
        found.sort(key=lambda pair: (pair.before.seed != pair.after.seed, len(pair.causes)))
        taken: set[int] = set()
        for pair in found:
            ends = {id(pair.before), id(pair.after)}
            if not ends & taken:
                taken |= ends
                pairs.append(pair)
    paired = {id(record) for pair in pairs for record in (pair.before, pair.after)}
    gone, new = (tuple(r for r in records if id(r) not in paired) for records in sides)
    return Changes(tuple(pairs), gone, new)


def changes_table(
    changes: Changes, names: tuple[str, str], metrics: Sequence[str] = SHOWN
) -> Table:
    """The pairs whose metrics differ, a line each, and what differs between the folders.

    Args:
        changes: What `changes_between` gives.
        names: What the folders are called.
        metrics: Names of metrics that are shown; another one may be all that changed.
    """
    changed = [pair for pair in changes.pairs if not pair.equal]
    both = " that both have" if any(pair.lacking for pair in changes.pairs) else ""
    blocks: dict[str, list[Pair]] = defaultdict(list)
    for pair in changed:
        one = pair.after
        blocks[f"{one.dataset} · {one.method} · {one.features}"].append(pair)
    columns = [Column(name, title(m)) for m in metrics for name in ("before", "after", "change")]
    return Table(
        f"{names[0]} → {names[1]}",
        f"{plural(len(changes.pairs), 'result')} of both folders: {len(changed)} changed,"
        f" {len(changes.pairs) - len(changed)} equal in every metric{both}. Values in percent,"
        " changes in points.",
        (Column("class"), *columns),
        tuple(Block(name, _lines(pairs, metrics)) for name, pairs in blocks.items()),
        tuple(_notes(changes, names)),
    )


def changes_csv(changes: Changes, path: Path) -> None:
    """Write a row for each result and metric, with fractions and what differs, in words.

    Raises:
        UserError: The file could not be written.
    """
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        what = ("dataset", "class_name", "method", "features", "seed")
        writer.writerow((*what, "metric", "before", "after", "differs"))
        for before, after, told in _all(changes):
            some = after or before
            assert some is not None  # noqa: S101
            start = [getattr(some, name) for name in what]
            for metric in (before or some).metrics | (after or some).metrics:
                found = (one.metrics.get(metric) if one else None for one in (before, after))
                values = ("" if value is None or math.isnan(value) else value for value in found)
                row = [*start, metric, *values, "; ".join(told)]
                writer.writerow(map(spreadsheet_cell, row))


def _all(
    changes: Changes,
) -> Iterable[tuple[Record | None, Record | None, Sequence[str]]]:
    yield from ((pair.before, pair.after, pair.causes) for pair in changes.pairs)
    yield from ((record, None, ()) for record in changes.gone)
    yield from ((None, record, ()) for record in changes.new)


def _causes(before: Record, after: Record) -> tuple[str, ...]:
    if before.decides and after.decides:
        return tuple(causes(differing(before.decides, after.decides)))
    conditions = (
        {name: getattr(one, name) for name in _CONDITIONS} | one.setting | one.options
        for one in (before, after)
    )
    return tuple(differing(*conditions))


def _lines(pairs: Sequence[Pair], metrics: Sequence[str]) -> tuple[Line, ...]:
    seeds = {pair.after.seed for pair in pairs}
    times: dict[tuple[str, int], int] = defaultdict(int)
    for pair in pairs:
        times[pair.after.class_name, pair.after.seed] += 1
    lines, values = [], []
    for pair in pairs:
        one = pair.after
        name = one.class_name + (f", seed {one.seed}" if len(seeds) > 1 else "")
        if times[one.class_name, one.seed] > 1:
            name += f", {pair.before.backbone} → {one.backbone}"
        found = [
            (pair.before.metrics.get(m, math.nan), one.metrics.get(m, math.nan)) for m in metrics
        ]
        values.append(found)
        lines.append(Line(name, _cells(found)))
    if len(lines) > 1:
        columns = zip(*values, strict=True)
        lines.append(Line("mean of these", _cells([_means(column) for column in columns])))
    return tuple(lines)


def _cells(found: Iterable[tuple[float, float]]) -> tuple[Cell, ...]:
    return tuple(
        cell
        for before, after in found
        for cell in (
            (Figure(percent(before)),),
            (Figure(percent(after)),),
            (UNKNOWN if math.isnan(after - before) else gain(after - before),),
        )
    )


def _means(column: Sequence[tuple[float, float]]) -> tuple[float, float]:
    both = [pair for pair in column if not math.isnan(sum(pair))]
    if not both:
        return math.nan, math.nan
    return fmean(before for before, _ in both), fmean(after for _, after in both)


def _notes(changes: Changes, names: tuple[str, str]) -> Iterable[str]:
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    silent = 0
    for pair in changes.pairs:
        for cause in pair.causes:
            counts[cause][0] += 1
            counts[cause][1] += not pair.equal
        silent += not pair.equal and not pair.causes
    alike: dict[tuple[int, int], list[str]] = defaultdict(list)
    for cause, (number, changed) in counts.items():
        alike[number, changed].append(cause)
    for (number, changed), same in sorted(alike.items(), reverse=True):
        share = "all results" if number == len(changes.pairs) else plural(number, "result")
        yield f"Differs in {share}, {changed} of them changed: {'; '.join(same)}."
    if silent:
        yield (
            f"{plural(silent, 'result')} changed, and nothing that decides over them is recorded as"
            " different: another machine, device or library."
        )
    if lacking := [pair.lacking for pair in changes.pairs if pair.lacking]:
        which = in_order(metric for metrics in lacking for metric in metrics)
        yield (
            f"Metrics that only one folder has, in {plural(len(lacking), 'result')}:"
            f" {listed([title(m) for m in which])}."
        )
    for records, name in ((changes.gone, names[0]), (changes.new, names[1])):
        if records:
            where = dict.fromkeys(f"{r.dataset} {r.class_name} · {r.method}" for r in records)
            yield f"{plural(len(records), 'result')} only in {name}: {few_listed(list(where))}."


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))
