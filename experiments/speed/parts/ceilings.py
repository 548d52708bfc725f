"""What this machine can do: the ceilings that the notes count against."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from measuring import Row, seconds, threads
from torch.nn import functional as F

RUNS = 7
GIGA = 1e9


def best(work: Callable[[], object], runs: int = RUNS) -> float:
    """Shortest time of several: a ceiling is what the machine can do undisturbed."""
    work()
    return min(seconds(work) for _ in range(runs))


def rows() -> Iterator[Row]:
    """Matrix product, convolution, copy, gather, sort, disk."""
    generator = torch.Generator().manual_seed(0)
    side = 2048
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        matrix = torch.randn(side, side, generator=generator).to(dtype)
        for number in (1, 2):
            with threads(number):
                rate = 2 * side**3 / best(lambda matrix=matrix: matrix @ matrix) / GIGA
            name = str(dtype).removeprefix("torch.")
            yield ceiling(f"matrix product, {name}, {number} thread(s)", rate, "GFLOP/s")

    images = torch.randn(8, 64, 56, 56, generator=generator)
    kernel = torch.randn(64, 64, 3, 3, generator=generator)
    operations = 2 * images.numel() * kernel[0].numel()
    with threads(2):
        rate = operations / best(lambda: F.conv2d(images, kernel, padding=1)) / GIGA
    yield ceiling("convolution 3×3, 64 channels, 56², 2 threads", rate, "GFLOP/s")

    source = torch.randn(2**27, generator=generator)
    target = torch.empty_like(source)
    for number in (1, 2):
        with threads(number):
            rate = 2 * source.nbytes / best(lambda: target.copy_(source)) / GIGA
        yield ceiling(f"copy of 512 MB, read and written, {number} thread(s)", rate, "GB/s")

    rows_of = source.view(-1, 1024)
    order = torch.randperm(len(rows_of), generator=generator)
    with threads(2):
        gathered = target.view_as(rows_of)
        work = best(lambda: torch.index_select(rows_of, 0, order, out=gathered))
        rate = 2 * source.nbytes / work / GIGA
    yield ceiling("gather of rows of 4 KB in random order, 2 threads", rate, "GB/s")
    picks = torch.randint(len(source), (2**22,), generator=generator)
    with threads(2):
        rate = len(picks) / best(lambda: torch.take(source, picks)) / 1e6
    yield ceiling("gather of single numbers, 2 threads", rate, "million/s")

    values = source[:5_000_000].numpy()
    rate = len(values) / best(lambda: np.sort(values)) / 1e6
    yield ceiling("numpy sort, float32", rate, "million/s")
    few = values[:200_000]
    rate = len(few) / best(lambda: np.argsort(few)) / 1e6
    yield ceiling("numpy argsort, 200,000 float32", rate, "million/s")

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data"
        file.write_bytes(source.numpy().tobytes())
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)

        def read() -> None:
            # Out of the page cache first, so that the disk is read.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            file.read_bytes()

        yield ceiling("disk read, 512 MB", source.nbytes / best(read, 3) / GIGA, "GB/s")
        rate = source.nbytes / best(file.read_bytes, 3) / GIGA
        yield ceiling("the same from the page cache", rate, "GB/s")
        os.close(descriptor)


def ceiling(work: str, rate: float, unit: str) -> Row:
    """A row without another side."""
    return Row("ceiling", work, rate, unit=unit)
