"""PatchCore's bank, bounded: accuracy and threshold by its size.

python experiments/bank/run.py DATA [PRODUCT ...]

DATA holds mvtec/, labelled/ and products/. Appends to results.csv what does not stand there yet.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adpt.backbones import Backbone, build_backbone
from adpt.data.images import read_mask
from adpt.data.transforms import Geometry
from adpt.inspection.fitting import ImageFiles
from adpt.inspection.inputs import find_images
from adpt.inspection.threshold import ThresholdPolicy
from adpt.methods import PatchCore
from adpt.methods.coreset import greedy_coreset
from adpt.methods.left_out import left_out_patches
from adpt.methods.maps import smooth, upsample
from adpt.methods.nearest_patches import NearestPatches
from adpt.metrics import anomaly_metrics
from adpt.running.progress import no_progress

SIZE, BATCH, WIDTH, TESTED = 224, 8, 256, 30
BOUNDS = (4096, 8192)
METRICS = ("image_auroc", "pixel_ap", "pixel_aupro")
RESULTS = Path(__file__).with_name("results.csv")


def evenly(paths: list[Path]) -> list[Path]:
    """At most `TESTED` of them, evenly spaced."""
    places = np.unique(np.linspace(0, len(paths) - 1, TESTED).round().astype(int))
    return [paths[place] for place in places]


def embedded(backbone: Backbone, geometry: Geometry, paths: list[Path]) -> Tensor:
    """(n, patches, WIDTH), as PatchCore describes patches."""
    features = ImageFiles(geometry, BATCH).encoded(backbone, paths, no_progress)
    method = PatchCore(SIZE, embedding_dim=WIDTH)
    batches = features.batches(BATCH, backbone.mean.device)
    return torch.cat([method.embed(levels) for levels in batches])


def mask_of(path: Path, geometry: Geometry) -> Tensor:
    """(H, W) bool: where the defect is."""
    folder = path.parents[2] / "ground_truth" / path.parent.name
    files = sorted(folder.glob(f"{path.stem}*.png")) if folder.is_dir() else []
    return geometry.mask(read_mask(files[0], "defect")) if files else torch.zeros(SIZE, SIZE) > 0


def rows(product: Path, backbone: Backbone) -> Iterator[list[float]]:
    """Patches in the bank, metrics, and shares of false alarms and of missed defects."""
    geometry = Geometry(SIZE)
    kinds = {path.name: find_images(path, "images") for path in sorted(product.glob("test/*"))}
    normal = evenly(kinds.pop("good"))
    tested = normal + evenly([path for kind in kinds.values() for path in kind])
    train = embedded(backbone, geometry, find_images(product / "train/good", "fit"))
    queries = embedded(backbone, geometry, tested)
    masks = torch.stack([mask_of(path, geometry) for path in tested]).numpy()
    patches, grid = train.flatten(0, 1), round(train.shape[1] ** 0.5)
    count = int(len(patches) * 0.1 + 1e-6)
    picks = greedy_coreset(patches, count, torch.Generator().manual_seed(0))
    for size in [*(bound for bound in BOUNDS if bound < count), count]:
        bank = patches[picks[:size]]
        near = NearestPatches(bank).find(queries.flatten(0, 1))[0].reshape(len(tested), -1)
        maps = smooth(upsample(near.reshape(-1, grid, grid), (SIZE, SIZE), align_corners=False))
        image = near.amax(1)
        found = anomaly_metrics(maps.numpy(), masks, image.numpy())
        left = left_out_patches(train.flatten(0, 1), len(train), bank)
        if left is None:
            raise ValueError("A patch of the bank is none of the pictures'.")
        above = image > ThresholdPolicy().find(left.amax(1), "left out", None).value
        wrong = [float(above[: len(normal)].float().mean())]
        wrong.append(1 - float(above[len(normal) :].float().mean()))
        yield [size, *(found[metric] for metric in METRICS), *wrong]


def main(data: Path, wanted: list[str]) -> None:
    """Append the rows of products with at least 60 good pictures."""
    head = ["product", "patches", *METRICS, "false_alarms", "missed"]
    if not RESULTS.exists():
        RESULTS.write_text(",".join(head) + "\n")
    done = {line.split(",")[0] for line in RESULTS.read_text().splitlines()}
    backbone = build_backbone("efficientnet_lite0")
    for folder in sorted(data.glob("*/*/train/good")):
        product = folder.parents[1]
        few = len(find_images(folder, "fit")) < 60
        if few or product.name in done or (wanted and product.name not in wanted):
            continue
        with torch.no_grad(), RESULTS.open("a", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            for size, *values in rows(product, backbone):
                table.writerow([product.name, size, *(f"{value:.4f}" for value in values)])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2:])
