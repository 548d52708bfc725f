"""Encode every picture once: the plain images, turned views of them, drawn defects, drawn products.

    SHARED=<folder of data/ and weights/> python experiments/unseen_products/encode.py CACHE

One file a backbone, product and view in CACHE (about 2 GB), with levels in half precision, masks,
labels and splits. A view turns, crops or mirrors all of a product's images and masks alike, so it
is one more product to the projector; only sources have views.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from products import PRODUCTS
from torch import Tensor
from torch.nn import functional as F

from adpt.backbones import build_backbone
from adpt.data import DrawnForPretraining, Folder, Sample
from adpt.data.reading import PlainImages
from adpt.data.synthetic import SyntheticDefects

LEVELS = [2, 3, 4]
LIMITS = {"train": 40, "good": 20, "defective": 60}
"""Images of a product that views are made of."""


def turned(image: Tensor) -> Tensor:
    """A quarter turn, colours in another order."""
    return torch.rot90(image, 1, (-2, -1))


def near(image: Tensor) -> Tensor:
    """The middle, 1.5 times as large and mirrored."""
    side = image.shape[-1]
    edge = side // 6
    part = image[..., edge : side - edge, edge : side - edge].float()
    scaled = F.interpolate(
        part.reshape(1, -1, *part.shape[-2:]), size=(side, side), mode="bilinear", antialias=True
    )
    scaled = scaled.reshape(*image.shape[:-2], side, side).flip(-1)
    return scaled > 0.5 if image.dtype == torch.bool else scaled.round().to(image.dtype)


VIEWS = {"turned": turned, "near": near}


def places(count: int, most: int) -> list[int]:
    """At most so many of `count` places, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()


def limited(samples: list[Sample]) -> list[Sample]:
    """Some of a product's images, evenly spaced."""
    chosen = []
    for group, most in LIMITS.items():
        members = [
            s
            for s in samples
            if (s.split == "train") == (group == "train")
            and (group == "train" or bool(s.label) == (group == "defective"))
        ]
        chosen += [members[place] for place in places(len(members), most)]
    return chosen


def encode(path: Path, data, samples, backbone, view=None, drawn_defects=False) -> None:
    """Write the features of some images."""
    if path.exists():
        return
    reader, draw = PlainImages(samples, data.geometry), SyntheticDefects(1)
    levels, masks = [], []
    for start in range(0, len(samples), 16):
        items = [reader[index] for index in range(start, min(start + 16, len(samples)))]
        pairs = [(item.image, item.mask) for item in items]
        if drawn_defects:
            pairs = [draw(image, start + k) for k, (image, _) in enumerate(pairs)]
        if view is not None:
            pairs = [(view(image), view(mask)) for image, mask in pairs]
        masks += [mask for _, mask in pairs]
        with torch.no_grad():
            levels.append(backbone(torch.stack([image for image, _ in pairs])))
    torch.save(
        {
            "levels": [torch.cat(parts).half() for parts in zip(*levels, strict=True)],
            "masks": torch.stack(masks),
            "labels": torch.tensor([int(drawn_defects or s.label) for s in samples]),
            "splits": ["synthetic" if drawn_defects else s.split for s in samples],
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
        for name, (data, samples) in sets.items():
            some = limited(samples)
            for view, change in VIEWS.items():
                encode(cache / f"{network}.{name}.{view}.pt", data, some, backbone, change)
            normal = [s for s in some if s.split == "train"]
            encode(cache / f"{network}.{name}.defects.pt", data, normal, backbone, None, True)
        drawn.prepare_data()
        drawn.setup()
        for name in drawn.classes:
            for view in sorted({s.view for s in drawn.samples if s.class_name == name}):
                samples = [s for s in drawn.samples if (s.class_name, s.view) == (name, view)]
                path = cache / f"{network}.drawn_{name}_{view}.plain.pt"
                encode(path, drawn, samples, backbone)


if __name__ == "__main__":
    main()
