"""How a command's process holds memory between one tensor and the next."""

import ctypes
import os
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""As glibc's <malloc.h> numbers its settings."""
_KEPT, _LARGEST = 2**28, 2**25
"""Bytes that are kept free, and of the largest pieces that are; larger ones are given back."""
_OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """Let the process keep up to 256 MB that it freed, for the next tensors of such a size.

    A network frees and takes the same tensors with every batch. Left to itself glibc gives them
    back each time, and the kernel clears and maps every page of 4 KB anew, which can take as long
    as the network's own arithmetic. Where the environment sets glibc's allocator, and without
    glibc, nothing changes.
    """
    if any(name in os.environ for name in _OF_THE_USER):
        return
    # No C library to open by that name, or another than glibc.
    with suppress(OSError, TypeError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _LARGEST)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
