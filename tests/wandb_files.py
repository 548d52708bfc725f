"""W&B without an account, and what it writes offline.

The log in a folder `offline-run-*`, which `wandb sync` sends, is LevelDB's: after a header of 7
bytes, blocks of 32 KiB with fragments of records, each with checksum, length and type (1 whole, 2
first, 3 middle, 4 last).
"""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.proto import wandb_internal_pb2

BLOCK = 32768


@dataclass
class OfflineRun:
    """What a run would send.

    Attributes:
        run: Its `RunRecord`: id, project, group, job type.
        config: Key to value.
        history: One mapping for each call of `log`.
        summary: The last value of each name.
        metrics: Name to what `define_metric` said.
        artifacts: The artefacts, W&B's own ones of tables left out.
    """

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)


def read_run(folder: Path) -> OfflineRun:
    """Read the one offline run that lies in `folder/wandb`, once it is over."""
    wandb.teardown()  # W&B's service writes the last of it when it ends.
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    found = OfflineRun()
    for record in records(path.read_bytes()):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = record.run
            _update(found.config, record.run.config.update)
        elif kind == "config":
            _update(found.config, record.config.update)
        elif kind == "history":
            row: dict[str, Any] = {}
            _update(row, record.history.item)
            found.history.append(row)
        elif kind == "summary":
            _update(found.summary, record.summary.update)
        elif kind == "metric":
            found.metrics[record.metric.name or record.metric.glob_name] = record.metric
        elif kind == "artifact" and record.artifact.type != "run_table":
            found.artifacts.append(record.artifact)
    return found


def records(log: bytes) -> list[Any]:
    """The records of a log."""
    found, whole, place = [], b"", 7
    while place + 7 <= len(log):
        left = BLOCK - place % BLOCK
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", log[place : place + 7])
        whole += log[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            found.append(record)
            whole = b""
    return found


@contextmanager
def without_account(folder: Path) -> Iterator[None]:
    """For a while, W&B finds no account, and what it writes goes to a folder."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_MODE", "WANDB_API_KEY"):
            patch.delenv(name, raising=False)
        for name in ("HOME", "WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
            place = folder / name.lower()
            place.mkdir()
            patch.setenv(name, str(place))
        patch.setenv("NETRC", str(folder / "netrc"))
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        yield
        wandb.finish()
        wandb.teardown()


def _update(values: dict[str, Any], items: Any) -> None:
    for item in items:
        *path, last = list(item.nested_key) or [item.key]
        inner = values
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = json.loads(item.value_json)
