"""Results as CSV."""

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from adpt.results.budget import budget
from adpt.results.metric_names import METRICS
from adpt.results.record import Record, latest
from adpt.running.names import spreadsheet_cell
from adpt.running.whole_files import replacing

_WHAT = (
    "dataset", "class_name", "method", "features", "backbone", "protocol", "seed", "shots"
)  # fmt: skip
_WEIGHTS = ("projector", "projector_sha256", "backbone_sha256")
_TRACE = ("commit", "config_sha256", "created")


def to_csv(records: Iterable[Record], path: str | Path) -> None:
    """Write one row per result, with all metrics as fractions and empty cells for nan.

    Of a result that was recorded twice the later one is written. What differs from the plain
    experiment stands in columns that begin with `setting_`, the method's options and epochs in such
    with `option_` and `epochs_`, and in words in `not_published`; intervals in `<metric>_low` and
    `<metric>_high`, costs in columns that begin with `cost_`.

    Args:
        records: Records of any data sets and methods.
        path: The file, replaced whole if it exists.

    Raises:
        UserError: The file could not be written.
    """
    records = latest(records)
    rows = [_csv_row(record) for record in records]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with (
        replacing(Path(path)) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({k: spreadsheet_cell(v) for k, v in row.items()} for row in rows)


def _csv_row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(record, name) for name in _WHAT}
    row |= _begun("setting", record.setting) | _begun("option", record.options)
    row["not_published"] = ", ".join(budget([record]))
    metrics = dict.fromkeys(list(METRICS)[:7], math.nan) | record.metrics
    row |= {name: "" if math.isnan(value) else value for name, value in metrics.items()}
    for name, ends in record.intervals.items():
        row |= _begun(name, dict(zip(("low", "high"), ends, strict=True)))
    row |= _begun("epochs", record.epochs) | _begun("count", record.counts)
    row |= _begun("seconds", record.seconds) | _begun("cost", record.costs)
    row |= {name: getattr(record, name) for name in _WEIGHTS}
    return row | {name: record.provenance.get(name) for name in _TRACE}


def _begun(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}_{key}": value for key, value in values.items()}
