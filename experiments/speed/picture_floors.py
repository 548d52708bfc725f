"""What each picture cannot do without, for parts/whole.py and scoring.py: a JSON job.

The job is {"inspector", "cells": [{"images", "batch"}, ...]}; a cell may have "fit", a folder of
good images that the method is fitted on, and "heatmaps", a folder of those that the command wrote.
The first cell warms up. Prints as JSON, for each of the others, CPU seconds by what was done:
decoding and resizing by Pillow, the backbone alone, the method's own operations, and encoding the
heatmaps' files.
"""

import io
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Spent = dict[str, float]


def main() -> None:
    """Do the job; neither imports nor loading count."""
    from adpt import Inspector
    from adpt.running.memory import keep_freed_memory

    keep_freed_memory()
    job = json.loads(sys.argv[1])
    inspector = Inspector.load(job["inspector"], "cpu")
    print(json.dumps([floors(inspector, cell) for cell in job["cells"]][1:]))


def floors(inspector: Any, cell: dict[str, Any]) -> Spent:
    """CPU seconds of all pictures of a cell, by what was done."""
    import torch

    from adpt.inspection.inputs import find_images

    spent: Spent = defaultdict(float)
    scorer, batch, size = inspector.scorer, cell["batch"], inspector.geometry.image_size

    def levels_of(folder: str) -> list[list[torch.Tensor]]:
        found = []
        paths = find_images(folder, "images")
        for start in range(0, len(paths), batch):
            pixels = [prepared(path, size, spent) for path in paths[start:][:batch]]
            with counted(spent, "backbone"):
                found.append(scorer.backbone(torch.stack(pixels)))
        return found

    with torch.no_grad():
        if "fit" in cell:
            good = levels_of(cell["fit"])
            with counted(spent, "method"):
                scorer.method.fit(good)
                scorer.method.left_out_scores(good)
        tested = levels_of(cell["images"])
        with counted(spent, "method"):
            for levels in tested:
                scorer.method.score(levels)
    for path in Path(cell["heatmaps"]).glob("*.jpg") if cell.get("heatmaps") else ():
        encode(path, spent)
    return spent


def prepared(path: Path, size: tuple[int, int], spent: Spent) -> Any:
    """A picture's pixels for the backbone."""
    import torch

    with counted(spent, "decoding"):
        picture = Image.open(path).convert("RGB")
    with counted(spent, "resizing"):
        pixels = np.array(picture.resize(size[::-1], Image.Resampling.BICUBIC))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def encode(path: Path, spent: Spent) -> None:
    """Encode a heatmap again."""
    rendered = Image.open(path).convert("RGB")
    with counted(spent, "encoding"):
        rendered.save(io.BytesIO(), format="JPEG", quality=88)


@contextmanager
def counted(spent: Spent, name: str) -> Iterator[None]:
    """Add the CPU seconds of what is done within."""
    start = time.process_time()
    yield
    spent[name] += time.process_time() - start


if __name__ == "__main__":
    main()
