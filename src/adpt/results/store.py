"""Records on disk: JSON lines that survive interruptions and simultaneous writers."""

import contextlib
import dataclasses
import errno
import json
import logging
import math
import os
import sys
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import Any, NoReturn

from adpt.errors import UserError
from adpt.results.record import Record

if sys.platform != "win32":
    import fcntl

log = logging.getLogger(__name__)


def append_records(path: str | Path, records: Iterable[Record]) -> None:
    """Append records to a file of JSON lines, all of them or none, and start it if it is missing.

    The part of a line that an interruption left at the file's end is removed. Processes that append
    at the same time wait for each other.

    Args:
        path: The file.
        records: Records; nan metrics are written as null.

    Raises:
        UserError: The file could not be written; it is as it was.
        ValueError: A record holds infinities, or nan elsewhere than in its metrics.
    """
    path = Path(path)
    lines = b"".join(_to_line(record) for record in records)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: with O_APPEND one write is one step.
        with path.open("ab+", buffering=0) as file:
            _lock(file)
            file.seek(0)
            before = file.readall()
            kept, missing_newline = _mend(before, path)
            if kept < len(before):
                file.truncate(kept)
            try:
                if file.write(missing_newline + lines) != len(missing_newline + lines):
                    raise OSError(errno.ENOSPC, "Not all of it could be written")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(kept)
                raise
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error}.") from error


def read_records(path: str | Path) -> list[Record]:
    """Read the records of a file, or of all `*.jsonl` files in a folder and its subfolders.

    Files of a folder follow each other by the time of their newest record. Of a cell that a
    file has twice the last record counts. A last line that an interrupted write left incomplete is
    skipped with a warning.

    Args:
        path: File or folder.

    Raises:
        UserError: Nothing is there, or a line is no record; the message names file and line.
    """
    path = Path(path)
    if path.is_dir():
        files = [_read_file(file) for file in sorted(path.rglob("*.jsonl"))]
        files.sort(key=lambda records: max(map(_created, records), default=""))
        return [record for records in files for record in records]
    if not path.exists():
        raise UserError(
            f"There are no results at {path}: it does not exist. "
            "Give the folder or the .jsonl file that `python -m adpt.evaluate` wrote."
        )
    return _read_file(path)


def _created(record: Record) -> str:
    return str(record.provenance.get("created", ""))


def _lock(file: FileIO) -> None:
    if sys.platform != "win32":
        # Some network file systems have no locks; the single write must do there.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)


def _mend(content: bytes, path: Path) -> tuple[int, bytes]:
    """Bytes of the file to keep, and what must follow before the next line."""
    complete = content.rfind(b"\n") + 1
    rest = content[complete:]
    if not rest:
        return complete, b""
    if _is_record(rest):
        return len(content), b"\n"
    log.warning("%s ended in an incomplete line, left by an interruption: removed.", path)
    return complete, b""


def _to_line(record: Record) -> bytes:
    fields = dataclasses.asdict(record)
    del fields["instead_of"]
    metrics = {name: float(value) for name, value in record.metrics.items()}
    fields["metrics"] = {n: None if math.isnan(value) else value for n, value in metrics.items()}
    fields["history"] = [
        {n: None if math.isnan(value) else value for n, value in entry.items()}
        for entry in record.history
    ]
    return (
        json.dumps(fields, allow_nan=False, ensure_ascii=False).encode(errors="backslashreplace")
        + b"\n"
    )


def _read_file(path: Path) -> list[Record]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error}.") from error
    lines = content.split(b"\n")
    if lines[-1].strip() and not _is_record(lines[-1]):
        log.warning(
            "%s ends in an incomplete line (%d), left by an interrupted write: skipped. "
            "Evaluate again what is missing.",
            path,
            len(lines),
        )
        lines.pop()
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append(_from_line(line))
        except ValueError as error:
            raise UserError(
                f"{path}, line {number} is not a record: {error}. "
                "Mend or delete that line and evaluate again what it held."
            ) from error
    return _each_once(records)


def _each_once(records: Iterable[Record]) -> list[Record]:
    kept: dict[object, Record] = {}
    for number, record in enumerate(records):
        key = number if record.cell is None else (record.cell, record.projector_sha256)
        kept.pop(key, None)
        kept[key] = record
    return list(kept.values())


_TYPES: dict[str, type | tuple[type, ...]] = {
    "seed": int,
    "shots": (int, type(None)),
    "references": list,
    "projector": (str, type(None)),
    "projector_sha256": (str, type(None)),
    "backbone_sha256": (str, type(None)),
    "cell": (str, type(None)),
    "details": (str, type(None)),
    "history": list,
    "instead_of": list,
    "intervals": dict,
    **dict.fromkeys(
        (
            "metrics",
            "counts",
            "seconds",
            "costs",
            "provenance",
            "setting",
            "options",
            "decides",
            "epochs",
        ),
        dict,
    ),
}


def _from_line(line: bytes) -> Record:
    fields = json.loads(line, parse_constant=_refuse)
    if not isinstance(fields, dict):
        raise ValueError("it is no JSON object")
    known = {item.name: item for item in dataclasses.fields(Record)}
    if unknown := sorted(fields.keys() - known.keys()):
        raise ValueError(f"unknown keys {', '.join(unknown)}")
    required = {name for name, item in known.items() if _is_required(item)}
    if missing := sorted(required - fields.keys()):
        raise ValueError(f"missing keys {', '.join(missing)}")
    for name, value in fields.items():
        if not isinstance(value, _TYPES.get(name, str)):
            raise ValueError(f"{name} is {value!r}")
    for name, value in fields["metrics"].items():
        if not isinstance(value, int | float | None):
            raise ValueError(f"the metric {name} is {value!r}")
    for name, value in fields.get("costs", {}).items():
        if type(value) not in (int, float):
            raise ValueError(f"the cost {name} is {value!r}")
    for name, ends in fields.get("intervals", {}).items():
        if not (isinstance(ends, list) and [type(end) for end in ends] == [float, float]):
            raise ValueError(f"the interval of {name} is {ends!r}")
    read = {
        "metrics": _nan_back(fields["metrics"]),
        "references": tuple(fields.get("references", ())),
        "intervals": {name: tuple(ends) for name, ends in fields.get("intervals", {}).items()},
        "history": tuple(map(_nan_back, fields.get("history", ()))),
        "instead_of": (),
    }
    return Record(**{**fields, **read})


def _nan_back(values: dict[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else float(value) for name, value in values.items()}


def _is_record(line: bytes) -> bool:
    with contextlib.suppress(ValueError):
        _from_line(line)
        return True
    return False


def _is_required(item: "dataclasses.Field[Any]") -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
