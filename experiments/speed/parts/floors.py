"""`adpt.evaluate` of six methods against the sum of its floors: decode, encode once, each method.

`ADPT_SPEED_SET` names a set in MVTec AD's layout. Trained methods get few epochs, so that what lies
around them shows. Neither side's imports count; each runs in a process of its own.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measuring import Row
from processes import HERE, process, ratio

NEEDED = "ADPT_SPEED_SET"
CLASSES, EPOCHS, RUNS = 2, 2, 1
TRAINED = ("cflow", "glass", "uniad")
METRICS = "metrics"
"""What the floors tell apart, for it is no method's own operation."""


def rows() -> Iterator[Row]:
    """From a cold and from a warm feature cache."""
    root = os.environ.get(NEEDED)
    if not root:
        print(f"left out, for want of {NEEDED}", file=sys.stderr)
        return
    classes = sorted(folder.name for folder in Path(root).iterdir())[:CLASSES]
    found: dict[str, list[Any]] = {"cold": [], "warm": [], "floors": []}
    with tempfile.TemporaryDirectory() as name:
        for run in range(RUNS):
            folder = Path(name) / str(run)
            for side in found:
                do = "floors" if side == "floors" else "evaluate"
                found[side].append(spent(do, options(root, classes, folder, side)))
    images = f"{len(classes)} products ({', '.join(classes)})"
    floors = [sum(v[0] for k, v in each.items() if k != METRICS) for each in found["floors"]]
    parts = ", ".join(f"{name} {value[0]:.1f}" for name, value in found["floors"][0].items())
    for side in ("cold", "warm"):
        pairs = [(each["evaluate"][0], low) for each, low in zip(found[side], floors, strict=True)]
        yield ratio(
            "evaluation",
            f"six methods on {images}, {EPOCHS} epochs of the trained ones, {side} cache: "
            "CPU seconds",
            pairs,
            "the sum of its floors, encoding included",
            1 / 1.3,
            note=f"CPU seconds of the floors: {parts}; {METRICS} are not in their sum",
        )


def options(root: str, classes: list[str], folder: Path, side: str) -> list[str]:
    """The command's options."""
    return [
        "data=folder",
        f"data.root={root}",
        f"data.classes=[{','.join(classes)}]",
        "backbone=efficientnet_lite0",
        "backbone.levels=[2,3]",
        "method=all_quick",
        *(f"method.{method}.epochs={EPOCHS}" for method in TRAINED),
        "features=[own]",
        f"cache.folder={folder / 'cache'}",
        f"output_dir={folder / side}",
        "run_name=floors",
    ]


def spent(do: str, given: list[str]) -> Any:
    """CPU seconds and seconds of the clock, by what was done."""
    job = json.dumps({"do": do, "options": given})
    return process([sys.executable, str(HERE / "floors_runner.py"), job]).answer
