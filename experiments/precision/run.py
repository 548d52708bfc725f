"""Backbones in lower precision against float32: metrics on real products, CPU seconds in turns.

python experiments/precision/run.py DATA WEIGHTS [metrics | time | table]

DATA holds mvtec/, labelled/ and products/; WEIGHTS is mobilenetv2_100.safetensors. Appends to
results.csv and times.csv what does not stand there yet; `table` prints both as in the README.
"""

import csv
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adpt.backbones import Backbone, build_backbone
from adpt.data.images import read_mask
from adpt.data.transforms import Geometry
from adpt.inspection.fitting import ImageFiles
from adpt.inspection.inputs import find_images
from adpt.methods import Method, PaDiM, PatchCore
from adpt.metrics import anomaly_metrics
from adpt.running.progress import no_progress

SIZE, BATCH, TESTED = 224, 8, 60
PRODUCTS = ("mvtec/bottle", "labelled/magnetic_tile", "products/screw", "products/leather_plain")
PRECISIONS = ("float32", "bfloat16", "float16")
SEED = "float32 seed 1"
"""What another first patch of PatchCore's bank changes, to judge the others by."""
METRICS = ("image_auroc", "pixel_ap", "pixel_aupro")
TIMED = ("efficientnet_lite0", "mobilenetv2", "dinov2_s")
HERE = Path(__file__).parent


def backbone_of(name: str, precision: Any, weights: str) -> Backbone:
    """With real weights where there are any here."""
    if name == "efficientnet_lite0":
        return build_backbone(name, precision=precision)
    if name == "mobilenetv2":
        return build_backbone(name, levels=[2, 3, 4], weights=weights, precision=precision)
    return build_backbone(name, pretrained=False, precision=precision)


def methods(seed: int) -> dict[str, Method]:
    """Fresh ones; the bank is small to save time."""
    return {"padim": PaDiM(SIZE), "patchcore": PatchCore(SIZE, coreset_ratio=0.02, seed=seed)}


def evenly(paths: list[Path]) -> list[Path]:
    """At most `TESTED` of them, evenly spaced."""
    places = np.unique(np.linspace(0, len(paths) - 1, TESTED).round().astype(int))
    return [paths[place] for place in places]


def measured(folder: Path, backbone: Backbone, seed: int) -> Iterator[list[Any]]:
    """Method and metrics, in points."""
    geometry = Geometry(SIZE)
    files = ImageFiles(geometry, BATCH)
    kinds = {path.name: find_images(path, "images") for path in sorted(folder.glob("test/*"))}
    normal = evenly(kinds.pop("good"))
    tested = normal + evenly([path for kind in kinds.values() for path in kind])
    train = files.encoded(backbone, find_images(folder / "train/good", "fit"), no_progress)
    test = files.encoded(backbone, tested, no_progress)
    masks = []
    for path in tested:
        found = sorted((folder / "ground_truth" / path.parent.name).glob(f"{path.stem}*.png"))
        mask = geometry.mask(read_mask(found[0], "defect")) if found else torch.zeros(SIZE, SIZE)
        masks.append(mask > 0)
    for name, method in methods(seed).items():
        method.fit(train.batches(BATCH, torch.device("cpu")))
        scores = [method.score(levels) for levels in test.batches(BATCH, torch.device("cpu"))]
        maps = torch.cat([one.maps for one in scores]).numpy()
        image = torch.cat([one.image for one in scores]).numpy()
        found = anomaly_metrics(maps, torch.stack(masks).numpy(), image)
        yield [name, *(f"{100 * found[metric]:.3f}" for metric in METRICS)]


def metrics(data: Path, weights: str) -> None:
    """Append to results.csv."""
    file = HERE / "results.csv"
    head = ["backbone", "product", "precision", "method", *METRICS]
    for name, place, precision in product(TIMED[:2], PRODUCTS, (*PRECISIONS, SEED)):
        key = f"{name},{Path(place).name},{precision},"
        if not file.exists():
            file.write_text(",".join(head) + "\n")
        if key in file.read_text():
            continue
        with torch.no_grad():
            backbone = backbone_of(name, precision.split()[0], weights)
            rows = list(measured(data / place, backbone, int(precision == SEED)))
        with file.open("a", newline="") as out:
            table = csv.writer(out, lineterminator="\n")
            table.writerows([name, Path(place).name, precision, *row] for row in rows)


def times(weights: str) -> None:
    """Write times.csv: CPU seconds of a batch in each precision, in turns, as ratios to float32."""
    with (HERE / "times.csv").open("w", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["backbone", "batch", "precision", "seconds", "ratio", "low", "high"])
        for name, batch in product(TIMED, (1, 8)):
            sides = {one: backbone_of(name, one, weights) for one in PRECISIONS}
            images = torch.randint(0, 256, (batch, 3, SIZE, SIZE), dtype=torch.uint8)
            taken: dict[str, list[float]] = {one: [] for one in sides}
            for _ in range(6):
                for precision, backbone in sides.items():
                    start = time.process_time()
                    backbone(images)
                    taken[precision].append(time.process_time() - start)
            for precision, seconds in taken.items():
                pairs = zip(taken["float32"][1:], seconds[1:], strict=True)
                ratios = [full / half for full, half in pairs]
                spread = statistics.median(ratios), min(ratios), max(ratios)
                row = [f"{statistics.median(seconds[1:]):.4f}", *(f"{one:.2f}" for one in spread)]
                table.writerow([name, batch, precision, *row])


def print_table() -> None:
    """Both tables, as Markdown."""
    with (HERE / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {
        tuple(row[key] for key in ("backbone", "method", "product", "precision")): [
            float(row[metric]) for metric in METRICS
        ]
        for row in rows
    }
    print("| backbone | method | product | float32 | bfloat16 | float16 | float32, seed 1 |")
    print("|---|---|---|---|---|---|---|")
    for key in sorted({key[:3] for key in found}):
        full = np.array(found[(*key, "float32")])
        cells = [" / ".join(f"{value:.1f}" for value in full)]
        for precision in (*PRECISIONS[1:], SEED):
            apart = np.array(found[(*key, precision)]) - full
            cells.append(" / ".join(f"{value:+.2f}" for value in apart))
        print("| " + " | ".join([*key, *cells]) + " |")
    with (HERE / "times.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    print("\n| backbone | batch | precision | ms | times as fast as float32 (range) |")
    print("|---|---|---|---|---|")
    for row in rows:
        ratio = f"{row['ratio']} ({row['low']}–{row['high']})"
        cells = [row["backbone"], row["batch"], row["precision"]]
        print("| " + " | ".join([*cells, f"{1000 * float(row['seconds']):.0f}", ratio]) + " |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    steps = sys.argv[3:] or ["metrics", "time", "table"]
    if "metrics" in steps:
        metrics(Path(sys.argv[1]), sys.argv[2])
    if "time" in steps:
        times(sys.argv[2])
    if "table" in steps:
        print_table()
