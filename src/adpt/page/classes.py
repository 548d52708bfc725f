"""One method on one data set, class by class."""

from collections.abc import Sequence
from typing import NamedTuple

from adpt.results import Summary
from adpt.results.compare import class_table
from adpt.results.table import Table
from adpt.results.training_course import training_table


class ClassTables(NamedTuple):
    """A summary's tables.

    Attributes:
        summary: The summary.
        table: The metrics that were asked for.
        others: Its other metrics, two by two, so that a wide screen shows a table whole.
        other_notes: What those tables note beyond the first one's notes.
        training: Metrics from early to late; None where none were looked at.
    """

    summary: Summary
    table: Table
    others: list[Table]
    other_notes: list[str]
    training: Table | None


def one_summary(summary: Summary, metrics: Sequence[str]) -> ClassTables:
    """Tables of a summary, with these metrics in the first one."""
    table = class_table(summary, metrics)
    recorded = [metric for metric in summary.mean.metrics if metric not in metrics]
    others = [class_table(summary, recorded[i : i + 2]) for i in range(0, len(recorded), 2)]
    notes = dict.fromkeys(note for other in others for note in other.notes)
    new = [note for note in notes if note not in table.notes]
    return ClassTables(summary, table, others, new, training_table(summary, metrics))
