"""Entries run in processes that can be signalled at any moment, without importing torch anew."""

import json
import pickle
import resource
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, TimeoutExpired
from typing import IO

import warm
from adpt import evaluate, train
from runs import evaluation, training

_SCRIPT = """
import json, sys
tests, *words = json.loads(sys.argv[1])
sys.path.insert(0, tests)
from attempts import work
work(*words, sys.stdin.buffer)
"""


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
    said = folder.with_name(f"{folder.name}.txt")
    words = [str(Path(__file__).parent), entry, largest_file]
    config = (training if entry == "train" else evaluation)(folder, *overrides)
    started = time.perf_counter()
    with said.open("wb") as file:
        process = warm.Forked(
            [sys.executable, "-c", _SCRIPT, json.dumps(words)],
            stdin=PIPE, stdout=file, stderr=file,
        )  # fmt: skip
    process.stdin.write(pickle.dumps(config))
    process.stdin.close()
    if after is not None:
        with suppress(TimeoutExpired):
            process.wait(after)
        process.send_signal(signum)  # None is sent to one that has ended.
    code = process.wait(60)
    seconds = time.perf_counter() - started
    output = said.read_text(errors="replace")
    said.unlink()
    return Ended(code, output, seconds)


def work(entry: str, largest_file: int | None, config: IO[bytes]) -> None:
    """What an attempt's process does."""
    if largest_file is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, hard))
    task = train.train if entry == "train" else evaluate.evaluate
    task(pickle.load(config))  # noqa: S301
