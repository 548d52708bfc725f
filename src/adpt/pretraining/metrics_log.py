"""A run's metrics as a table on disk, one row a step, which a resumed run goes on with."""

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from adpt.running.checkpoints import find_checkpoint, steps_of
from adpt.running.whole_files import replacing

_NAME = "metrics.csv"
_SECONDS = 10.0
"""Longest time that metrics are kept in memory alone."""


class MetricsLog(Logger):
    """Writes `metrics.csv`, whole every time.

    A run that goes on from a checkpoint takes over the rows of that checkpoint's run, up to the
    checkpoint's step, wherever the former run's folder is. After a kill the row of the very step
    that a checkpoint within an epoch was written after may be missing: it is logged later.

    Args:
        folder: The run's folder.
        checkpoint: What the run goes on from, as `find_checkpoint` takes it.
    """

    def __init__(self, folder: str | Path, checkpoint: str | None = None) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.rows: dict[int, dict[str, Any]] = {}
        found = find_checkpoint(checkpoint, self.folder / "checkpoints")
        former = found.parent.parent / _NAME if found else None
        if found and former and former.exists():
            self.rows = _read(former, steps_of(found))
        self._written = time.monotonic()

    name = version = ""  # The run's folder names the run.

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self.folder)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: Hydra keeps the composed config in the run's folder."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add metrics to a step's row; a metric that is there already is replaced."""
        row = self.rows.setdefault(step or 0, {})
        row |= {name: float(value) for name, value in metrics.items()}
        if time.monotonic() - self._written > _SECONDS:
            self.save()

    @rank_zero_only
    def save(self) -> None:
        """Write the file.

        Raises:
            UserError: It could not be written, for instance because the disk is full.
        """
        if not self.rows:
            return
        columns = ["step", *sorted({name for row in self.rows.values() for name in row})]
        with replacing(self.folder / _NAME) as temporary, temporary.open("w", newline="") as file:
            table = csv.DictWriter(file, columns)
            table.writeheader()
            table.writerows({"step": step, **row} for step, row in sorted(self.rows.items()))
        self._written = time.monotonic()

    def finalize(self, status: str) -> None:
        """Write the file a last time."""
        self.save()


def _read(path: Path, last_step: int) -> dict[int, dict[str, Any]]:
    with path.open(newline="") as file:
        rows = {int(row.pop("step")): row for row in csv.DictReader(file)}
    return {
        step: {name: value for name, value in row.items() if value}
        for step, row in rows.items()
        if step <= last_step
    }
