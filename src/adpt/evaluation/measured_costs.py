"""Costs of methods, measured: seconds, milliseconds an image, memory, size."""

import ctypes
import gc
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from adpt.evaluation.class_data import ClassData
from adpt.evaluation.encoding import Encoder
from adpt.evaluation.features import Features
from adpt.methods.base import Method
from adpt.residual import Kind

log = logging.getLogger(__name__)

Costs = dict[str, float]
BATCHES = (1, 32)
"""Images at a time."""
ROUNDS = 15
"""Most measurements that a median is taken of."""
SECONDS = 2.0
"""After this time no further round begins."""


class EncodingCosts:
    """Milliseconds that an image takes from its pixels to the features that a method sees.

    The backbone is measured once, and what follows it once for each class and kind of features, so
    that methods beside each other share these numbers.

    Args:
        encoder: The set's.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.device = encoder, encoder.device
        self._known: dict[tuple[str, Kind], Costs] = {}

    def of(self, encoded: ClassData, kind: Kind) -> Costs:
        """Milliseconds of `backbone` and `features`, for each of `BATCHES`."""
        if (encoded.name, kind) not in self._known:
            self._known[encoded.name, kind] = self._features(encoded, kind)
        return {**self._backbone, **self._known[encoded.name, kind]}

    @cached_property
    def _backbone(self) -> Costs:
        height, width = self.encoder.data.geometry.image_size
        images = torch.zeros(max(BATCHES), 3, height, width, dtype=torch.uint8)
        encode = self.encoder.backbone.encoding(self.encoder.class_token)

        def run(count: int, _: int) -> None:
            encode(images[:count].to(self.device))

        return milliseconds("backbone", run, self.device)

    def _features(self, encoded: ClassData, kind: Kind) -> Costs:
        if kind == "own":
            return {f"features_ms_{count}": 0.0 for count in BATCHES}
        projector = self.encoder.projector if kind == "pretrained" else None
        rows = _spread(encoded.test)
        paths = [encoded.test.paths[row] for row in rows]
        levels = [level.to(self.device) for level in encoded.test.read(rows)]

        def convert(count: int, number: int) -> None:
            some = _some(count, number)
            encoded.references.convert(
                [level[some] for level in levels],
                paths[some],
                projector.module if projector else None,
            )

        return milliseconds("features", convert, self.device)

    def of_method(self, encoded: Mapping[str, ClassData], kind: Kind) -> "MethodCosts":
        """Measures a method on features of some classes; the first one's images are scored."""
        return MethodCosts(self.of(next(iter(encoded.values())), kind), self.device)


class MethodCosts:
    """Costs of one method: `start`ed before it is fitted, and `finish`ed before it scores.

    Memory is what is taken above what was at the start: on a GPU what PyTorch allocates there, else
    what the process holds, as Linux tells it; elsewhere it is left out.

    Args:
        encoding: Costs up to the features.
        device: Where to compute.
    """

    def __init__(self, encoding: Costs, device: torch.device) -> None:
        self.encoding, self.device = encoding, device

    def start(self, train: Sequence[Features], test: Features, memory_gb: float) -> list[Features]:
        """The features to fit on, in memory where they take no more than `memory_gb`.

        Args:
            train: As they are.
            test: Of the class whose images are scored.
            memory_gb: Largest size of what is held.
        """
        self.test = test
        self.levels = [level.to(self.device) for level in test.read(_spread(test))]
        held = in_memory(train, memory_gb)
        self.memory = PeakMemory(self.device)
        return held

    def finish(self, method: Method, seconds: float | None, classes: int) -> Costs:
        """All costs of a fitted method, as of `Record.costs`; they change neither it nor a score.

        Args:
            method: Fitted.
            seconds: That fitting took; None where they are not known.
            classes: How many classes the method is one for.
        """
        found = {
            "classes": float(classes),
            "fit_seconds": math.nan if seconds is None else seconds,
            "fit_peak_mb": self.memory.read() / 1e6,
            "size_mb": size(method.state_dict()) / 1e6,
        }
        self.memory.restart()
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices):
            if method.looks_at_all:
                method.look_at(self.test.batches(max(BATCHES), self.device))
            found |= milliseconds("method", partial(self._score, method), self.device)
        found["score_peak_mb"] = self.memory.read() / 1e6
        found |= self.encoding
        for count in BATCHES:
            parts = [f"{part}_ms_{count}" for part in ("backbone", "features", "method")]
            found[f"ms_{count}"] = sum(found.get(part, math.nan) for part in parts)
        return {name: value for name, value in found.items() if not math.isnan(value)}

    def _score(self, method: Method, count: int, number: int) -> None:
        for part in method.score([level[_some(count, number)] for level in self.levels]):
            part.cpu()


class PeakMemory:
    """The most memory that is taken above what was taken at first, in bytes.

    Args:
        device: Where to compute.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.base = self.restart()

    def read(self) -> float:
        """The most so far; nan where the system does not tell."""
        return max(self.base, self.highest, self._peak()) - self.base

    def restart(self) -> float:
        """Forget what was taken so far; gives what is taken now, in all."""
        gc.collect()
        self.highest = self._begin()
        return self.highest

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Memory taken meanwhile does not count."""
        self.highest = max(self.highest, self._peak())
        try:
            yield
        finally:
            self._begin()

    def _begin(self) -> float:
        """Let the system count anew, from what is taken now."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return torch.cuda.memory_allocated(self.device)
        # What was freed and kept for later would hide what the next method takes of it.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return math.nan
        return _of_process("VmRSS")

    def _peak(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return math.nan if math.isnan(self.base) else _of_process("VmHWM")


def milliseconds(what: str, work: Callable[[int, int], None], device: torch.device) -> Costs:
    """Milliseconds an image, for each of `BATCHES`: medians of some rounds after one to warm up.

    Args:
        what: Begins the names, `<what>_ms_<images at a time>`.
        work: Given the number of images at a time and of the round.
        device: Where it computes.

    Returns:
        Without batches that the GPU has no memory for.
    """
    taken: dict[int, list[float]] = {count: [] for count in BATCHES}
    for count in BATCHES:
        try:
            work(count, 0)
        except torch.OutOfMemoryError:
            log.warning("No cost of %s in batches of %d: no memory for them", what, count)
            del taken[count]
    wait_for(device)
    started = time.perf_counter()
    for number in range(ROUNDS):
        # In turns, so that a busy moment of the machine meets all of them.
        for count, found in taken.items():
            begun = time.perf_counter()
            work(count, number)
            wait_for(device)
            found.append(1000 * (time.perf_counter() - begun) / count)
        if time.perf_counter() - started > SECONDS:
            break
    return {f"{what}_ms_{count}": median(found) for count, found in taken.items()}


def in_memory(train: Sequence[Features], memory_gb: float) -> list[Features]:
    """Features read into memory where they take no more together: no fit waits for a disk."""
    fits = sum(features.num_bytes for features in train) <= memory_gb * 1e9
    return [replace(one, source=one.held(memory_gb if fits else 0)) for one in train]


def size(state: Mapping[str, object]) -> int:
    """Bytes of a state's tensors, as a file keeps them."""
    return sum(value.nbytes for value in state.values() if isinstance(value, Tensor))


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _some(count: int, number: int) -> slice:
    """Rows of a batch: one image alone is another one in every round."""
    first = number % (max(BATCHES) - count + 1)
    return slice(first, first + count)


def _spread(test: Features) -> list[int]:
    """Rows of as many images as the largest batch has, from all over; some twice of fewer."""
    return [number * len(test) // max(BATCHES) for number in range(max(BATCHES))]


def _of_process(name: str) -> float:
    """A line of the process's state, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
