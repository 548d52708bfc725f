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

from adpt.backbones import Backbone, build_backbone
from adpt.data import DrawnForPretraining, Folder, Sample
from adpt.data.reading import PlainImages

NETWORKS = ("efficientnet_lite0", "mobilenetv2")
LEVELS = [2, 3, 4]
LIMITS = {"train": 40, "good": 20, "defective": 60}
"""Images of a source product."""


def places(count: int, most: int) -> list[int]:
    """At most so many of `count` places, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()


def set_of(name: str, shared: Path) -> Folder:
    """The set of one product."""
    data = Folder(shared / "data" / PRODUCTS[name], classes=[name])
    data.setup()
    return data


def network_of(name: str, shared: Path) -> Backbone:
    """A backbone with ImageNet weights."""
    other = shared / "weights" / "mobilenetv2_100.safetensors"
    return build_backbone(name, levels=LEVELS, weights=other if name == "mobilenetv2" else None)


def name_of(sample: Sample) -> str:
    """What an image is called in the cache."""
    return f"{sample.split}/{sample.defect}/{sample.image.name}"


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
            "names": [name_of(s) for s in samples],
        },
        path,
    )
    print("encoded", path.name, len(samples), flush=True)


def main() -> None:
    """Encode what is not there yet."""
    cache, shared = Path(sys.argv[1]), Path(os.environ["SHARED"])
    cache.mkdir(parents=True, exist_ok=True)
    drawn = DrawnForPretraining(cache / "drawn", normal=12, anomalous=12)
    sets = {}
    for name in PRODUCTS:
        data = set_of(name, shared)
        sets[name] = data, [s for s in data.samples if s.class_name == name]
    for network in NETWORKS:
        backbone = network_of(network, shared)
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
