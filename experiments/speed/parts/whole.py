"""Fitting on 200 pictures and scoring the test pictures, and the start, beside anomalib.

Whole processes. Of `ADPT_ANOMALIB_PYTHON`, `ADPT_SPEED_WEIGHTS` and `ADPT_SPEED_PRODUCT` all are
needed (see setups.py); pictures are made from the product's in a temporary folder.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measuring import Row
from processes import HERE, Cost, compare, floor_row, process, ratio
from setups import BATCH, PICTURES, PRODUCT, Setup, image_auroc, mobilenet, ready, run_here

MANY, SIDE = 200, 900
ENGINE = "anomalib's engine"
STARTS = 2


def rows() -> Iterator[Row]:
    """Both methods on MobileNetV2, then the start."""
    if not ready():
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_here(PICTURES, PRODUCT, folder, MANY, SIDE)
        for method in ("padim", "patchcore"):
            work = "MobileNetV2, strides 8 and 16"
            yield from fitted(mobilenet(method), folder, work)
        yield from started(mobilenet("patchcore"), folder)


def fitted(setup: Setup, folder: Path, work: str) -> Iterator[Row]:
    """Fit, threshold, scores and heatmaps of one method on one backbone."""
    found: dict[str, float] = {}
    seconds: dict[str, float] = {}

    def ours() -> Cost:
        cost = setup.fit(folder, folder / "good", f"images={folder / 'test'}")
        lines = (folder / "own/scores.jsonl").read_text().splitlines()
        scored = [json.loads(line) for line in lines]
        seconds["ours"] = cost.cpu
        found["ours"] = image_auroc([s["path"] for s in scored], [s["score"] for s in scored])
        return cost

    def theirs() -> Cost:
        tests = folder / "test"
        cost = setup.theirs(
            "fit",
            folder,
            good=str(folder / "good"),
            normal_test=str(tests / "good"),
            abnormal=str(tests / "bad"),
            images=str(tests),
            export=["torch"],
        )
        seconds["theirs"] = cost.cpu
        found["theirs"] = image_auroc(*zip(*cost.answer, strict=True))
        return cost

    name = {"padim": "PaDiM", "patchcore": "PatchCore, 1 % coreset"}[setup.method]
    tested = len(list((folder / "test").glob("*/*")))
    yield from compare(
        "fit and predict",
        f"{name} on {work}; {MANY} pictures of {SIDE} px, threshold, {tested} scores and heatmaps",
        ours,
        theirs,
        f"{ENGINE}, `fit` and `predict`",
        1,
    )
    yield floor_row("the same", "CPU seconds", seconds["ours"], seconds["theirs"], floors(folder))
    yield Row(
        "the same",
        "image AUROC, difference",
        abs(found["ours"] - found["theirs"]),
        unit="points",
        goal=0.5,
        kind="limit",
        note=f"ours {found['ours']:.2f}, anomalib's {found['theirs']:.2f}",
    )


def floors(folder: Path) -> dict[str, float]:
    """CPU seconds of what our side of `fitted` cannot do without, what it wrote being in `folder`.

    The imports are those of `import torch, timm`.
    """
    cell = {
        "fit": str(folder / "good"),
        "images": str(folder / "test"),
        "batch": BATCH,
        "heatmaps": str(folder / "own/heatmaps"),
    }
    warm_up = {"images": str(folder / "test/good"), "batch": BATCH}
    job = {"inspector": str(folder / "own.adpt.safetensors"), "cells": [warm_up, cell]}
    (found,) = process([sys.executable, str(HERE / "picture_floors.py"), json.dumps(job)]).answer
    return {"imports": imports().cpu, **found}


def imports() -> Cost:
    """What takes long of our imports, alone."""
    return process([sys.executable, "-c", "import torch, timm"])


def started(setup: Setup, folder: Path) -> Iterator[Row]:
    """From the command to the score of one picture, with what `fitted` left in `folder`."""
    one = folder / "one/one.png"
    one.parent.mkdir()
    shutil.copy(folder / "good/0000.png", one)
    sides = {
        "ours": lambda: setup.command(folder, f"images={one}", "heatmaps=none"),
        f"{ENGINE}, `predict`": lambda: setup.theirs(
            "engine", folder, images=str(one.parent), heatmaps=False
        ),
        "anomalib's torch inferencer": lambda: setup.theirs(
            "torch", folder, images=str(one.parent)
        ),
        '`python -c "import torch, timm"`': imports,
    }
    found = {name: [side()] for name, side in sides.items()}
    for _ in range(STARTS - 1):
        for name, side in sides.items():
            found[name].append(side())
    for name in list(sides)[1:]:
        pairs = zip(found["ours"], found[name], strict=True)
        work = "`adpt.predict inspector=… images=<one picture>`: CPU seconds"
        goal = 3 if "anomalib" in name else 1 / 1.5
        yield ratio("start", work, [(own.cpu, other.cpu) for own, other in pairs], name, goal)
