"""Hydra's runs and sweeps: a folder that can be had, and jobs that may fail while others go on."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from adpt.running.whole_files import make_output_folder

log = logging.getLogger(__name__)

_NAME = "failed.txt"


def failure_file() -> Path | None:
    """Where the running job of a sweep says why it failed; None outside of sweeps."""
    job = sweep_job()
    return Path(job.runtime.output_dir) / _NAME if job else None


def job_number() -> int:
    """The running job's number in its sweep; 0 outside of sweeps."""
    job = sweep_job()
    return int(job.job.num) if job else 0


class OutputFolder(Callback):
    """Ends with a message where the folder of a run or sweep cannot be made or written to."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make a run's folder."""
        self._make(config, "run")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make a sweep's folder."""
        self._make(config, "sweep")

    def _make(self, config: DictConfig, kind: str) -> None:
        # As Hydra does right after this; its names may stand for others of its own config.
        HydraConfig.instance().set_config(config)
        folder = Path(config.hydra[kind].dir)
        try:
            make_output_folder(folder)
            if not os.access(folder, os.W_OK):
                raise PermissionError("it may not be written to")
        except OSError as error:
            said = error.strerror or error
            print(f"\nadpt: hydra.{kind}.dir={folder} cannot be used: {said}.", file=sys.stderr)
            sys.exit(1)


class FailedJobs(Callback):
    """At the end of a sweep, names the jobs that failed and exits with 1."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Look through the folders of the sweep's jobs."""
        folder = Path(config.hydra.sweep.dir)
        failed = sorted(folder.rglob(_NAME))
        if not failed:
            return
        print(f"\nadpt: {len(failed)} of the sweep's jobs failed:", file=sys.stderr)
        for path in failed:
            lines = path.read_text(encoding="utf-8").strip().splitlines() or ["no message"]
            print(f"  {path.parent.relative_to(folder)}: " + "\n    ".join(lines), file=sys.stderr)
        print("Start the same command again once they are mended.", file=sys.stderr)
        sys.exit(1)


def sweep_job() -> Any:
    """Hydra's config of the running job of a sweep; None outside of sweeps."""
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return HydraConfig.get()
    return None
