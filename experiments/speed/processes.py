"""Whole processes, ours and anomalib's, on the same pictures, backbone, layers and size.

Both sides get one thread. Where anomalib chooses a coreset its allocator is held to give memory
back, which it could fill otherwise (experiments/anomalib/README.md); else each side has the
allocator as it sets it itself. This module must stay small, for a process's peak of memory is never
told as less than what its parent held.
"""

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import Row

HERE = Path(__file__).parent
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TRUST_REMOTE_CODE": "1",  # anomalib's inferencer reads a pickle.
}


GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": str(4 * 2**20)}
"""For glibc: pieces from 4 MB on are given back as soon as they are free."""


@dataclass
class Cost:
    """What a process took: seconds of user and system, of the clock, MB at its peak."""

    cpu: float
    wall: float
    peak: float
    printed: str = ""

    @property
    def answer(self) -> Any:
        """The last line printed, read as JSON."""
        return json.loads(self.printed.splitlines()[-1])


def process(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end; what it says on the side is shown where it fails.

    Args:
        command: Words of it.
        environment: Variables beside those that all processes get.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors, tempfile.TemporaryFile("w+") as printed:
        running = subprocess.Popen(
            command,
            stdout=printed,
            stderr=errors,
            env={**os.environ, **ENVIRONMENT, **(environment or {})},
        )
        _, status, used = os.wait4(running.pid, 0)
        wall = time.perf_counter() - start
        running.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        printed.seek(0)
        if running.returncode:
            raise RuntimeError(f"{command[:3]} ended so:\n{errors.read()[-3000:]}")
        return Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024, printed.read())


def compare(
    part: str,
    work: str,
    ours: Callable[[], Cost],
    other: Callable[[], Cost],
    other_name: str,
    runs: int,
    note: str = "",
) -> Iterator[Row]:
    """Both sides in turns: CPU seconds, seconds of the clock, peaks of memory."""
    pairs = []
    for run in range(runs):
        sides = (ours, other) if run % 2 == 0 else (other, ours)
        found = {side: side() for side in sides}
        pairs.append((found[ours], found[other]))
    yield ratio(part, f"{work}: CPU seconds", _each(pairs, "cpu"), other_name, 3, note=note)
    yield ratio("the same", "by the clock", _each(pairs, "wall"), other_name, 3)
    yield ratio("the same", "peak of memory", _each(pairs, "peak"), other_name, 2, unit="MB")


def floor_row(part: str, work: str, own: float, theirs: float, floors: Mapping[str, float]) -> Row:
    """What our side took beside the sum of its floors, and what these would be beside the other's.

    Args:
        part: As of `Row`.
        work: Likewise.
        own: CPU seconds of our side.
        theirs: Of anomalib's.
        floors: Of what our side cannot do without, by name.
    """
    lowest = sum(floors.values())
    parts = ", ".join(f"{name} {1000 * value:.1f} ms" for name, value in floors.items())
    note = f"{parts}; anomalib's is {theirs / lowest:.2f} times the floor"
    return ratio(part, work, [(own, lowest)], "the sum of its floors", 1 / 1.3, note=note)


def ratio(
    part: str,
    work: str,
    pairs: Sequence[tuple[float, float]],
    other_name: str,
    goal: float,
    **more: Any,
) -> Row:
    """A row of pairs that were measured in turns."""
    ratios = [theirs / own for own, theirs in pairs]
    return Row(
        part,
        work,
        statistics.median(own for own, _ in pairs),
        statistics.median(theirs for _, theirs in pairs),
        other_name,
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        goal=goal,
        **more,
    )


def _each(pairs: Sequence[tuple[Cost, Cost]], what: str) -> list[tuple[float, float]]:
    return [(getattr(own, what), getattr(theirs, what)) for own, theirs in pairs]
