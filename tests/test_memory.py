"""A process keeps what it frees, so that the kernel need not map it anew with every batch."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from adpt.running.memory import keep_freed_memory
keep_freed_memory()
def batches(count):
    for _ in range(count):
        several = [torch.ones(2**20 * size) for size in (1, 3, 2)]
        del several
batches(10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
batches(20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> int:
    """Pages that the kernel maps for twenty batches of three tensors of 24 MB."""
    plain = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    plain.pop("GLIBC_TUNABLES", None)
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
