"""How a whole command grows: at three sizes, each twice the one before, a process each.

The growth is that of what a size costs more than the one before it, so that the start does not
count.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from measuring import Row
from processes import Cost, process

SLACK = 1.25
"""Times theory that a doubling may cost, as in parts/growth.py."""
FLAT = 32
"""MB that the peak may rise with the size; results and lists of paths are in memory."""
SMALL = ("backbone=efficientnet_lite0", "backbone.levels=[2,3]", "data.image_size=64")

PRODUCTS = """
import sys
import numpy as np
from pathlib import Path
from PIL import Image
draws = np.random.default_rng(0)
folder, products, good, test = Path(sys.argv[1]), *map(int, sys.argv[2:])
for number in range(products):
    for kind, many in (("train/good", good), ("test/good", test), ("test/bad", min(test, 2))):
        for image in range(many):
            path = folder / f"product_{number:04}" / kind / f"{image:06}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = draws.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            if kind == "test/bad":
                pixels[20:40, 20:40] //= 8
                mask = folder / path.parts[-4] / "ground_truth/bad" / path.name
                mask.parent.mkdir(parents=True, exist_ok=True)
                marked = np.zeros((64, 64), np.uint8)
                marked[20:40, 20:40] = 255
                Image.fromarray(marked).save(mask)
            Image.fromarray(pixels).save(path, compress_level=1)
"""


@dataclass
class Command:
    """A command at a size.

    Attributes:
        stage: The command, in words.
        sizes: Of what grows, each twice the one before.
        run: Does it at one size.
        of: What grows.
        flat: MB that the peak may rise from the smallest size to the largest; None where it is told
            without a goal.
    """

    stage: str
    of: str
    sizes: tuple[int, ...]
    run: Callable[[int], Cost]
    flat: float | None = FLAT


def grown(command: Command) -> Iterator[Row]:
    """Growth of a command's time, then of its peak."""
    costs = {size: command.run(size) for size in command.sizes}
    small, middle, large = command.sizes
    steps = [costs[after].cpu - costs[before].cpu for before, after in pairwise(command.sizes)]
    seconds = ", ".join(f"{size:,}: {cost.cpu:.1f} s" for size, cost in costs.items())
    yield Row(
        "growth of a command",
        f"{command.stage}: from {middle:,} to {large:,} {command.of} against from {small:,} to "
        f"{middle:,}",
        steps[1] / steps[0],
        unit="×",
        goal=2 * SLACK,
        kind="limit",
        note=f"theory 2; CPU seconds of {seconds}",
    )
    peaks = ", ".join(f"{size:,}: {cost.peak:.0f} MB" for size, cost in costs.items())
    yield Row(
        "the same",
        f"peak of memory, from {small:,} to {large:,} {command.of}",
        costs[large].peak - costs[small].peak,
        unit="MB",
        goal=command.flat,
        kind="limit",
        note=peaks,
    )


def adpt(entry: str, *options: str) -> Cost:
    """A command of ours."""
    return process([sys.executable, "-m", f"adpt.{entry}", *options])
