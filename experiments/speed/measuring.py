"""How a row is measured: both sides in turns; peaks of memory in a process of their own."""

import ctypes
import gc
import importlib
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

MB = 2**20


@dataclass
class Row:
    """One line of the table: what the project needs against what the other side needs.

    Attributes:
        part: The issue's part, such as "metrics".
        work: What was done on both sides, in words.
        ours, other: Medians, in `unit`; `other` is None where there is nothing to compare with.
        other_name: What the other side is.
        unit: "s", "MB" or "images/s".
        ratio, low, high: Median, smallest and largest of the ratios of pairs measured in turn, so
            that larger is better for us; None without another side.
        goal: What the ratio has to be at least (`ratio`), or `ours` at most (`limit`).
        kind: What `goal` holds for.
        note: Anything that a reader must know.
    """

    part: str
    work: str
    ours: float
    other: float | None = None
    other_name: str = ""
    unit: str = "s"
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    goal: float | None = None
    kind: Literal["ratio", "limit"] = "ratio"
    note: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        if self.kind == "limit":
            return self.ours <= self.goal
        return self.ratio is not None and self.ratio >= self.goal

    def to_json(self) -> str:
        """The row on one line."""
        return json.dumps(asdict(self) | {"met": self.met})


def seconds(work: Callable[[], Any]) -> float:
    """Time one call."""
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(
    ours: Callable[[], Any], other: Callable[[], Any], runs: int = 5, warm: bool = True
) -> dict[str, float]:
    """Time two sides in turns: `ours`, `other`, `ratio` (other / ours), `low` and `high`.

    The order changes from pair to pair, so that neither side always comes second.
    """
    if warm:
        ours()
        other()
    pairs = []
    for run in range(runs):
        if run % 2:
            theirs = seconds(other)
            pairs.append((seconds(ours), theirs))
        else:
            own = seconds(ours)
            pairs.append((own, seconds(other)))
    ratios = [theirs / own for own, theirs in pairs]
    return {
        "ours": statistics.median(own for own, _ in pairs),
        "other": statistics.median(theirs for _, theirs in pairs),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
    }


def peak_memory(module: str, function: str, *arguments: Any) -> float:
    """Peak of memory, in MB, that a call adds to what its process held before.

    Args:
        module: Such as "parts.padim"; imported in a new process.
        function: A function of it that sets up and returns the work, a callable.
        arguments: For the function.
    """
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned) as pool:
        return pool.submit(_peak, module, function, arguments).result()


def _peak(module: str, function: str, arguments: tuple[Any, ...]) -> float:
    sys.path.insert(0, str(Path(__file__).parent))
    work = getattr(importlib.import_module(module), function)(*arguments)
    gc.collect()
    # What the setting-up let go must not serve the work unseen.
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = _status("VmRSS")
    # Sets the high-water mark back to what is resident now (Linux).
    Path("/proc/self/clear_refs").write_text("5")
    work()
    return (_status("VmHWM") - before) / MB


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let torch compute with so many threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def machine() -> str:
    """The machine in words."""
    import torch

    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    graphics = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {model}, {graphics}, torch {torch.__version__}"
