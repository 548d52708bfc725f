"""Score maps of each product's defective pictures, beside their masks.

python experiments/regions/collect.py DATA OUT WEIGHTS

DATA holds mvtec/, labelled/ and products/. Writes OUT/<product>-<method>.npz, from which table.py
compares rules in seconds; what is there already is not done again.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

import adpt
from adpt.data.images import read_mask
from adpt.inspection import find_images
from adpt.inspection.inputs import Read, read

METHODS = {"patchcore": {"embedding_dim": 256}, "padim": {}}
FITTED, TESTED = 30, 20
"""Good pictures to fit on and defective ones to look at, at most."""
Item = TypeVar("Item")


def main(data: Path, out: Path, weights: Path) -> None:
    """Collect the maps of every product that has masks."""
    out.mkdir(parents=True, exist_ok=True)
    for product in sorted(folder.parents[1] for folder in data.glob("*/*/train/good")):
        defective = [
            (path, mask)
            for path in find_images(product / "test", "images")
            if path.parent.name != "good" and (mask := mask_of(path)) is not None
        ]
        for method, options in METHODS.items():
            path = out / f"{product.name}-{method}.npz"
            if defective and not path.exists():
                np.savez_compressed(
                    path, **collect(product, method, options, evenly(defective, TESTED), weights)
                )
                print(path.stem, flush=True)


def collect(
    product: Path,
    method: str,
    options: dict[str, int],
    defective: Sequence[tuple[Path, np.ndarray]],
    weights: Path,
) -> dict[str, np.ndarray]:
    """Maps, masks as pictures have them, verdicts, and what is known of normal pixels."""
    backbone = {
        "name": "mobilenetv2", "weights": str(weights), "mean": [0.5] * 3, "std": [0.5] * 3,
    }  # fmt: skip
    inspector = adpt.Inspector.fit(
        evenly(find_images(product / "train/good", "fit"), FITTED),
        method=method, method_options=options, backbone=backbone, folds=5, device="cpu",
    )  # fmt: skip
    found = {"normal_map": np.array(inspector.settings.normal_map)}
    anomalous = []
    for number, (path, mask) in enumerate(defective):
        image = read(path, inspector.geometry)
        assert isinstance(image, Read)
        scores = inspector.scorer(image.pixels[None])
        anomalous.append(float(scores.image[0]) > inspector.threshold)
        found[f"map/{number}"] = scores.maps[0].numpy()
        found[f"mask/{number}"] = mask
    return found | {"anomalous": np.array(anomalous)}


def mask_of(path: Path) -> np.ndarray | None:
    """(H, W) bool: where the defect is; None for a picture without a mask."""
    folder = path.parents[2] / "ground_truth" / path.parent.name
    files = sorted(folder.glob(f"{path.stem}*.png")) if folder.is_dir() else []
    return np.asarray(read_mask(files[0], "defect")) if files else None


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """At most so many of them, evenly spaced."""
    places = np.unique(np.linspace(0, len(items) - 1, count).round().astype(int))
    return [items[place] for place in places]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(Path, sys.argv[1:]))
