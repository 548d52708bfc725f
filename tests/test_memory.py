"""A process keeps what it frees, so that the kernel need not map it anew with every batch."""

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from adpt.running import memory

FAULTS = """
import resource
import numpy as np
from adpt.running.memory import keep_freed_memory
keep_freed_memory()
def batches(count):
    for _ in range(count):
        several = [np.ones(2**20 * size, np.float32) for size in (1, 3, 2)]
        del several
batches(10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
batches(20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> int:
    """Pages that the kernel maps for twenty batches of three arrays of 24 MB."""
    plain = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    plain.pop("GLIBC_TUNABLES", None)
    plain["NUMPY_MADVISE_HUGEPAGE"] = "0"  # As PyTorch takes its memory.
    ran = subprocess.run(
        [sys.executable, "-c", FAULTS], env=plain | environment, capture_output=True, check=True
    )
    return int(ran.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_is_kept_unless_the_environment_says_otherwise() -> None:
    given_back = faults(MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")
    if given_back < 10_000:
        pytest.skip("the C library is another, or pages are huge")
    assert faults() < given_back / 5


NAMES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", [None, *NAMES])
def test_an_allocator_that_the_environment_sets_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    asked: list[Any] = []
    library = SimpleNamespace(mallopt=lambda *setting: asked.append(setting))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: library)
    plain_environment(monkeypatch)
    if name is not None:
        monkeypatch.setenv(name, "1")
    memory.keep_freed_memory()
    # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of <malloc.h>.
    assert dict(asked) == ({-1: 2**28, -3: 2**25} if name is None else {})


@pytest.mark.parametrize("error", [OSError, TypeError, None])
def test_without_glibc_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None
) -> None:
    def opened(_: None) -> SimpleNamespace:
        if error is not None:
            raise error
        return SimpleNamespace()

    monkeypatch.setattr(memory.ctypes, "CDLL", opened)
    plain_environment(monkeypatch)
    memory.keep_freed_memory()
