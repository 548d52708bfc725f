"""Entries run in processes that can be signalled at any moment, without importing torch each time.

A server process imports everything once and forks a child for each attempt.
"""

import multiprocessing
import os
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from adpt import evaluate, train
from runs import evaluation, training

_PRELOADED = [
    "attempts",
    "pytest",
    "lightning",
    "adpt.pretraining.callbacks",
    "adpt.evaluation.evaluation",
    "adpt.data",
    "adpt.methods.training",
    "adpt.page",
    "adpt.pretraining",
    "adpt.tracking",
]


@dataclass(frozen=True)
class Ended:
    """How an attempt ended: its exit code, negative where a signal killed it, and what it said."""

    code: int
    output: str
    seconds: float


def attempt(
    entry: str,
    folder: Path,
    overrides: list[str],
    after: float | None = None,
    signum: signal.Signals = signal.SIGKILL,
    largest_file: int | None = None,
) -> Ended:
    """Run an entry in a process of its own.

    Args:
        entry: "train" or "evaluate", at the tiny sizes of `runs`.
        folder: The run's folder.
        overrides: Of the config.
        after: Seconds after which the process is sent the signal; None for never.
        signum: The signal.
        largest_file: Size in bytes beyond which writing fails, as on a full disk.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    said = folder.with_name(f"{folder.name}.txt")
    process = context.Process(target=_run, args=(entry, folder, overrides, said, largest_file))
    started = time.perf_counter()
    process.start()
    if after is not None:
        process.join(after)
        if process.is_alive():
            os.kill(process.pid or 0, signum)
    process.join(60)
    assert process.exitcode is not None, "the process has not ended"
    output = said.read_text(errors="replace") if said.exists() else ""
    said.unlink(missing_ok=True)
    return Ended(process.exitcode, output, time.perf_counter() - started)


def _run(
    entry: str, folder: Path, overrides: list[str], said: Path, largest_file: int | None
) -> None:
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(1)
    if largest_file is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, hard))
    if entry == "train":
        train.train(training(folder, *overrides))
    else:
        evaluate.evaluate(evaluation(folder, *overrides))
