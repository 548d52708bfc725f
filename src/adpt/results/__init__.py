"""What was measured and how: records, their provenance, and tables of own against pretrained."""

from adpt.results.document import latex_tables, markdown_report, markdown_tables
from adpt.results.origin import facts
from adpt.results.provenance import provenance
from adpt.results.record import Record, latest
from adpt.results.selection import check_metrics, select
from adpt.results.store import append_records, read_records
from adpt.results.summary import METRICS, SHOWN, Comparison, Row, Summary, summarise
from adpt.results.table import print_table, to_csv
from adpt.results.words import LEGEND, percent, points, setting_in_words

__all__ = [
    "LEGEND",
    "METRICS",
    "SHOWN",
    "Comparison",
    "Record",
    "Row",
    "Summary",
    "append_records",
    "check_metrics",
    "facts",
    "latest",
    "latex_tables",
    "markdown_report",
    "markdown_tables",
    "percent",
    "points",
    "print_table",
    "provenance",
    "read_records",
    "select",
    "setting_in_words",
    "summarise",
    "to_csv",
]
