"""Whole pictures, small and large, against windows: `run.py <folder> <out.csv> [products]`."""

import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from adpt.backbones import Backbone, build_backbone
from adpt.data.transforms import Geometry
from adpt.methods import Method, PaDiM, PatchCore, PerWindow, Scores
from adpt.metrics import anomaly_metrics

SMALL, WINDOW = 224, 224
PRODUCTS = {
    "bracket_white": ((448, 448), (40, 25, 30)),
    "screw": ((448, 448), (40, 25, 30)),
    "bare_pcb": ((448, 448), (24, 15, 15)),
    "ball_screw": ((224, 448), (24, 15, 15)),
}
"""The large size, and how many pictures to fit on, good ones and defective ones to score."""
METRICS = {"image_auroc": "image AUROC", "pixel_ap": "pixel AP", "pixel_aupro": "AUPRO"}
Size = tuple[int, int]


def some(folder: Path, count: int) -> list[Path]:
    """So many pictures, evenly spread over those of a folder and its folders."""
    paths = sorted(path for path in folder.rglob("*.*") if path.is_file())
    return [paths[number * len(paths) // count] for number in range(min(count, len(paths)))]


def batches(paths: list[Path], geometry: Geometry) -> Iterator[Tensor]:
    """Pictures as the backbone takes them, one by one."""
    for path in paths:
        with Image.open(path) as picture:
            yield geometry.image(picture.convert("RGB"))[None]


def backbones(size: Size) -> dict[str, tuple[Size, Backbone]]:
    """What sees the pictures: its name, the pictures' size, the backbone."""
    name = "efficientnet_lite0"
    return {
        "whole 224": ((SMALL, SMALL), build_backbone(name, image_size=SMALL)),
        "whole, large": (size, build_backbone(name, image_size=size)),
        "windows": (size, build_backbone(name, image_size=size, windows=WINDOW)),
    }


def methods(size: Size, windows: bool) -> dict[tuple[str, str], Callable[[], Method]]:
    """What makes each method: its name, and how it is fitted on windows."""

    def patchcore(size: Size | int = size) -> Method:
        return PatchCore(size, coreset_ratio=0.05, embedding_dim=256)

    found: dict[tuple[str, str], Callable[[], Method]] = {
        ("PatchCore", ""): patchcore,
        ("PaDiM", ""): lambda: PaDiM(size),
    }
    if windows:
        found["PatchCore", ", one bank each"] = lambda: PerWindow(lambda: patchcore(WINDOW), size)
    return found


def seam_ratio(maps: Tensor, seams: list[int]) -> float:
    """Mean score within 8 pixels of vertical seams, by that in between."""
    columns = torch.arange(maps.shape[-1])
    near = torch.stack([(columns - seam).abs() < 8 for seam in seams]).any(0)
    middle = (columns > 56) & (columns < maps.shape[-1] - 56)
    by_column = maps.mean((0, 1))
    return float(by_column[near & middle].mean() / by_column[~near & middle].mean())


@torch.no_grad()
def measured(
    product: Path, size: Size, counts: tuple[int, int, int]
) -> Iterator[dict[str, object]]:
    """Each method on each way to see a product; times in seconds of the processor."""
    to_fit, normal, defective = counts
    train = some(product / "train" / "good", to_fit)
    good, bad = some(product / "test" / "good", normal), []
    masks = sorted((product / "ground_truth").rglob("*.png"))
    masks = masks[:: max(1, len(masks) // defective)][:defective]
    for mask in masks:
        kind, name = mask.parent.name, mask.stem.removesuffix("_mask")
        bad += list((product / "test" / kind).glob(f"{name}.*"))
    shown = Geometry(size)
    truth = torch.zeros(len(good) + len(bad), *size, dtype=torch.bool)
    for number, mask in enumerate(masks):
        truth[len(good) + number] = shown.mask(np.array(Image.open(mask).convert("L")) > 0)
    for seen, (its_size, backbone) in backbones(size).items():
        geometry = Geometry(its_size)
        fitted_on = [backbone(image) for image in batches(train, geometry)]
        images = list(batches([*good, *bad], geometry))
        started = process_time()
        levels = [backbone(image) for image in images]
        encoding = process_time() - started
        for (name, how), make in methods(its_size, seen == "windows").items():
            method = make()
            started = process_time()
            method.fit(iter(fitted_on))
            fitting = process_time() - started
            started = process_time()
            scores = Scores.joined(method.score(one) for one in levels)
            scoring = process_time() - started
            maps = F.interpolate(scores.maps[:, None], size, mode="bilinear")[:, 0]
            found = anomaly_metrics(maps, truth, scores.image)
            row: dict[str, object] = {
                "product": product.name,
                "method": name,
                "seen": seen + how,
                **{told: round(100 * found[key], 1) for key, told in METRICS.items()},
                "seams": round(seam_ratio(maps[: len(good)], [160, 288]), 3),
                "fit s": round(fitting, 1),
                "ms an image": round(1000 * (encoding + scoring) / len(levels)),
            }
            print(row, flush=True)
            yield row


def main() -> None:
    """Measure products, all or those named, and add their rows to the table."""
    folder, out, *names = sys.argv[1:]
    torch.set_num_threads(1)
    for name in names or PRODUCTS:
        rows = list(measured(Path(folder) / name, *PRODUCTS[name]))
        fresh = not Path(out).exists()
        with Path(out).open("a", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            if fresh:
                writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
