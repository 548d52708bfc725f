"""What was measured and how: records, their provenance, and tables of own against pretrained."""

from adpt.results.provenance import provenance
from adpt.results.record import Record, latest
from adpt.results.store import append_records, read_records
from adpt.results.summary import METRICS, Comparison, Row, Summary, percent, points, summarise
from adpt.results.table import print_table, to_csv

__all__ = [
    "METRICS",
    "Comparison",
    "Record",
    "Row",
    "Summary",
    "append_records",
    "latest",
    "percent",
    "points",
    "print_table",
    "provenance",
    "read_records",
    "summarise",
    "to_csv",
]
