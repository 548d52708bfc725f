"""PatchCore's coreset: 10 % of 53,504 patches of 1024 numbers.

anomalib patches timm as it is imported, so it runs in a process of its own. Name an interpreter
that has it (`ADPT_ANOMALIB_PYTHON=/path/to/python`), and expect minutes; without one, ours is only
held against a plain pass over all patches at every pick.
"""

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from literal.coreset import plain_greedy
from measuring import Row, in_turns, seconds, threads
from torch import Tensor

from adpt.methods.coreset import greedy_coreset
from adpt.methods.nearest_patches import NearestPatches

PATCHES, WIDTH, SHARE = 53504, 1024, 0.1
COUNT = int(PATCHES * SHARE)
RUNS = 1
PYTHON = os.environ.get("ADPT_ANOMALIB_PYTHON")

THEIRS = """
import json, sys, time
import numpy as np, torch
from anomalib.models.components.sampling.k_center_greedy import KCenterGreedy
torch.set_num_threads(2)
torch.manual_seed(0)
sampler = KCenterGreedy(torch.from_numpy(np.load(sys.argv[1])), float(sys.argv[2]))
start = time.perf_counter()
picked = sampler.select_coreset_idxs()
print(json.dumps([time.perf_counter() - start, picked]))
"""


def drawn(patches: int = PATCHES) -> Tensor:
    """Patches of 12 kinds that vary in 32 directions, some far more than others, and noise."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randn(12, WIDTH, generator=generator)
    directions = torch.randn(32, WIDTH, generator=generator)
    weights = torch.randn(patches, 32, generator=generator) * torch.logspace(-0.25, -1.75, 32)
    weights *= torch.exp(0.5 * torch.randn(patches, 1, generator=generator))
    which = torch.randint(12, (patches,), generator=generator)
    noise = torch.randn(patches, WIDTH, generator=generator)
    return kinds[which] + weights @ directions + 0.1 * noise


def ours(points: Tensor, count: int) -> Tensor:
    """Our picks."""
    return greedy_coreset(points, count, torch.Generator().manual_seed(0))


def radius(points: Tensor, picked: Tensor) -> float:
    """Distance of the point that lies farthest from all picks, in all dimensions."""
    return float(NearestPatches(points[picked]).find(points)[0].max()) ** 0.5


def check_picks() -> None:
    """On patches that need no mapping, ours picks what the plain pass picks."""
    points = drawn(2000)[:, :128].contiguous()
    picked = ours(points, 200).tolist()
    if picked != plain_greedy(points, 200, picked[0]):
        raise AssertionError("picks differ from the plain greedy pass")


def rows() -> Iterator[Row]:
    """Ours against a plain pass in 128 dimensions, and against anomalib where there is one."""
    check_picks()
    points = drawn()
    work = f"{COUNT} of {PATCHES} patches × {WIDTH}"
    with threads(2):
        picked = ours(points, COUNT)
        own = radius(points, picked)
        plain = radius(points, torch.tensor(plain_greedy(points, COUNT, int(picked[0]))))
        yield Row(
            "PatchCore coreset",
            work,
            **in_turns(
                lambda: ours(points, COUNT),
                lambda: plain_greedy(points, COUNT, 0),
                RUNS,
                False,
            ),
            other_name="a pass at every pick, in 128 dimensions",
            note=f"radius {own:.4g} against {plain:.4g}; ours uses all dimensions",
        )
        if PYTHON:
            yield against_anomalib(points, own, work, PYTHON)


def against_anomalib(points: Tensor, own: float, work: str, python: str) -> Row:
    """Time and radius of anomalib's picks from the same patches."""
    times, radii = [], []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "points.npy"
        np.save(file, points.numpy())
        for _ in range(RUNS):
            here = seconds(lambda: ours(points, COUNT))
            command = [python, "-c", THEIRS, str(file), str(SHARE)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            there, picked = json.loads(done.stdout.splitlines()[-1])
            times.append((here, there))
            radii.append(radius(points, torch.tensor(picked)))
    if own > min(radii):
        raise AssertionError(f"our radius is {own}, anomalib's {min(radii)}")
    ratios = [there / here for here, there in times]
    return Row(
        "PatchCore coreset",
        work,
        statistics.median(here for here, _ in times),
        statistics.median(there for _, there in times),
        "anomalib's KCenterGreedy, in its own process",
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        goal=6,
        note=f"farthest-point radius {own:.4g} against {min(radii):.4g}",
    )
