"""Encode every picture once, of real products and of drawn ones.

    SHARED=<folder of data/ and weights/> python experiments/unseen_products/encode.py CACHE

One file a backbone, product and, of drawn ones, view in CACHE (about 1 GB), with levels in half
precision, masks, labels and splits.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from products import PRODUCTS

from adpt.backbones import build_backbone
from adpt.data import DrawnForPretraining, Folder
from adpt.data.reading import PlainImages

LEVELS = [2, 3, 4]
LIMITS = {"train": 40, "good": 20, "defective": 60}
"""Images of a source product."""


def places(count: int, most: int) -> list[int]:
    """At most so many of `count` places, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()


def encode(path: Path, data, samples, backbone) -> None:
    """Write the features of some images."""
    if path.exists():
        return
    reader = PlainImages(samples, data.geometry)
    levels, masks = [], []
    for start in range(0, len(samples), 16):
        items = [reader[index] for index in range(start, min(start + 16, len(samples)))]
        masks += [item.mask for item in items]
        with torch.no_grad():
            levels.append(backbone(torch.stack([item.image for item in items])))
    torch.save(
        {
            "levels": [torch.cat(parts).half() for parts in zip(*levels, strict=True)],
            "masks": torch.stack(masks),
            "labels": torch.tensor([s.label for s in samples]),
            "splits": [s.split for s in samples],
            "names": [f"{s.split}/{s.defect}/{s.image.name}" for s in samples],
        },
        path,
    )
    print("encoded", path.name, len(samples), flush=True)


def main() -> None:
    """Encode what is not there yet."""
    cache, shared = Path(sys.argv[1]), Path(os.environ["SHARED"])
    cache.mkdir(parents=True, exist_ok=True)
    drawn = DrawnForPretraining(cache / "drawn", normal=12, anomalous=12)
    weights = {"efficientnet_lite0": None,
               "mobilenetv2": shared / "weights" / "mobilenetv2_100.safetensors"}  # fmt: skip
    sets = {}
    for name, folder in PRODUCTS.items():
        data = Folder(shared / "data" / folder, classes=[name])
        data.setup()
        sets[name] = data, [s for s in data.samples if s.class_name == name]
    for network, file in weights.items():
        backbone = build_backbone(network, levels=LEVELS, weights=file)
        for name, (data, samples) in sets.items():
            encode(cache / f"{network}.{name}.plain.pt", data, samples, backbone)
        drawn.prepare_data()
        drawn.setup()
        for name in drawn.classes:
            for view in sorted({s.view for s in drawn.samples if s.class_name == name}):
                samples = [s for s in drawn.samples if (s.class_name, s.view) == (name, view)]
                path = cache / f"{network}.drawn_{name}_{view}.plain.pt"
                encode(path, drawn, samples, backbone)


if __name__ == "__main__":
    main()
