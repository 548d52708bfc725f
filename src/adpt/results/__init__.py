"""Records of what was measured, their provenance, and tables of own against pretrained."""

from adpt.results.conditions import facts
from adpt.results.csv_file import to_csv
from adpt.results.document import latex_tables, markdown_report, markdown_tables, mean_tables
from adpt.results.metric_names import METRICS, SHOWN, recorded, title
from adpt.results.provenance import computing_on, pretraining_of, provenance
from adpt.results.record import Record, latest
from adpt.results.selection import check_metrics, select
from adpt.results.store import append_records, read_records
from adpt.results.summary import Compared, Comparison, Summary, summarise
from adpt.results.terminal import print_table
from adpt.results.words import LEGEND, percent, points, setting_in_words

__all__ = [
    "LEGEND",
    "METRICS",
    "SHOWN",
    "Compared",
    "Comparison",
    "Record",
    "Summary",
    "append_records",
    "check_metrics",
    "computing_on",
    "facts",
    "latest",
    "latex_tables",
    "markdown_report",
    "markdown_tables",
    "mean_tables",
    "percent",
    "points",
    "pretraining_of",
    "print_table",
    "provenance",
    "read_records",
    "recorded",
    "select",
    "setting_in_words",
    "summarise",
    "title",
    "to_csv",
]
