"""Scoring pictures with a fitted PatchCore, beside anomalib's engine and torch inferencer.

Each side in a process of its own that first scores a warm-up; neither start nor loading counts.
Needs what parts/whole.py needs.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from measuring import Row
from processes import HERE, floor_row, process, ratio
from setups import PICTURES, PRODUCT, mobilenet, ready, run_here

FITTED, RUNS = 16, 1
SIZES = ((1, 1000, 1000, 16), (20, 5000, 4000, 8), (0.8, 900, 900, 200))
"""Megapixels, width, height, pictures."""
INFERENCERS = ("torch",)

DRAWN = """
import sys
from pathlib import Path
from PIL import Image
source, folder = sorted(Path(sys.argv[1]).iterdir()), Path(sys.argv[2])
size, many = (int(sys.argv[3]), int(sys.argv[4])), int(sys.argv[5])
folder.mkdir(parents=True)
for number in range(many):
    picture = Image.open(source[number % len(source)]).resize(size)
    picture.save(folder / f"{number:04}.jpg", quality=90)
"""


def rows() -> Iterator[Row]:
    """Sizes × heatmaps × batches by the engine, then its inferencer, then a stream."""
    if not ready():
        return
    with tempfile.TemporaryDirectory() as name:
        folder, setup = Path(name), mobilenet("patchcore")
        run_here(PICTURES, PRODUCT, folder, FITTED, SIZES[-1][1])
        for _, width, height, many in SIZES:
            run_here(DRAWN, folder / "good", folder / f"{width}", width, height, many)
        tests = folder / "test"
        setup.fit(folder, folder / "good")
        setup.theirs(
            "fit",
            folder,
            good=str(folder / "good"),
            normal_test=str(tests / "good"),
            abnormal=str(tests / "bad"),
            images=str(folder / "1000"),
            export=INFERENCERS,
        )
        cells = [
            {"pixels": pixels, "images": str(folder / f"{width}"), "batch": batch, "heatmaps": on}
            for (pixels, width, *_), on, batch in product(SIZES[:2], (False, True), (1, 8))
        ]
        stream = {"pixels": 0.8, "images": str(folder / "900"), "batch": 8, "heatmaps": False}
        engine = [cell | {"do": "cells"} for cell in (*cells, stream)]
        single = [cell for cell in cells if cell["batch"] == 1 and not cell["heatmaps"]]
        exported = [cell | {"do": kind} for kind in INFERENCERS for cell in single]
        theirs = engine + exported
        found: list[tuple[Any, Any, Any]] = []
        for run in range(RUNS):
            asked = {
                "own": lambda: own(folder, [cells[0], *cells, stream]),
                "theirs": lambda: setup.theirs("cells", folder, cells=[engine[0], *theirs]).answer[
                    1:
                ],
                "floors": lambda: floors(folder, [cells[0], *cells, stream]),
            }
            # The floors encode heatmaps that our side wrote.
            order = ("own", "theirs", "floors") if run % 2 == 0 else ("theirs", "own", "floors")
            got = {side: asked[side]() for side in order}
            found.append((got["own"], got["theirs"], got["floors"]))
        for number, cell in enumerate(theirs):
            mine = [*cells, stream].index({k: v for k, v in cell.items() if k != "do"})
            yield from cell_rows(cell, [(own[mine], other[number]) for own, other, _ in found])
            if cell["do"] == "cells":
                own_cell, other, low = (side[mine] for side in found[-1])
                work = f"{work_of(cell)}: CPU seconds"
                yield floor_row("scoring", work, own_cell[0], other[0], low)


def own(folder: Path, cells: list[dict[str, Any]]) -> list[list[float]]:
    """Our side: CPU seconds, seconds of the clock, pages a picture, of all cells but the first."""
    job = {
        "inspector": str(folder / "own.adpt.safetensors"),
        "output": str(folder / "scored"),
        "cells": cells,
    }
    found: list[list[float]] = process(
        [sys.executable, str(HERE / "inspector_runner.py"), json.dumps(job)]
    ).answer
    return found[1:]


def floors(folder: Path, cells: list[dict[str, Any]]) -> list[dict[str, float]]:
    """CPU seconds a picture of what our side cannot do without, of all cells but the first."""
    job = {"inspector": str(folder / "own.adpt.safetensors"), "cells": []}
    for number, cell in enumerate(cells):
        written = str(folder / f"scored/{number}/heatmaps") if cell["heatmaps"] else ""
        job["cells"].append(cell | {"heatmaps": written})
    found = process([sys.executable, str(HERE / "picture_floors.py"), json.dumps(job)]).answer
    return [
        {name: value / pictures_of(cell) for name, value in each.items()}
        for cell, each in zip(cells[1:], found, strict=True)
    ]


def pictures_of(cell: dict[str, Any]) -> int:
    """How many pictures a cell has."""
    return next(many for pixels, *_, many in SIZES if pixels == cell["pixels"])


def work_of(cell: dict[str, Any]) -> str:
    """A cell in words."""
    shown = "on" if cell["heatmaps"] else "off"
    return f"a picture of {cell['pixels']} megapixels, heatmap {shown}, batch {cell['batch']}"


def cell_rows(cell: dict[str, Any], pairs: list[tuple[list[float], list[float]]]) -> Iterator[Row]:
    """CPU seconds and seconds of the clock a picture."""
    name = "anomalib's engine" if cell["do"] == "cells" else f"anomalib's {cell['do']} inferencer"
    for index, what in enumerate(("CPU seconds", "by the clock")):
        each = [(own[index], other[index]) for own, other in pairs]
        note = f"mean of {pictures_of(cell)} JPEGs"
        yield ratio("scoring", f"{work_of(cell)}: {what}", each, name, 3, note=note)
