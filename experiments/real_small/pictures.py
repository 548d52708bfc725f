"""Score maps of a product on own, residual and pretrained features, without the photographs.

python experiments/real_small/pictures.py DATA_ROOT PRODUCT WEIGHTS PROJECTOR
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

from adpt.backbones import build_backbone
from adpt.data import Folder
from adpt.evaluation import encode_class, run_methods
from adpt.evaluation.panels import choose_images
from adpt.methods import FeatureNorm
from adpt.page.plots import heatmap, panel, save_png, score_range
from adpt.weights import load_projector


def main() -> None:
    """Write PRODUCT.png beside this script: a row an image, mask and three maps."""
    root, product, weights, projector = sys.argv[1:]
    device = torch.device("cpu")
    data = Folder(root, classes=[product], batch_size=16, num_workers=0)
    data.setup()
    backbone = build_backbone("mobilenetv2", levels=[2, 3, 4], weights=weights)
    encoded = encode_class(data, product, backbone, shots=8, seed=0, device=device)
    outcomes = run_methods(
        encoded,
        {"feature_norm": partial(FeatureNorm, image_size=224)},
        ["own", "residual", "pretrained"],
        projector=load_projector(projector).eval(),
        batch_size=16,
        device=device,
    )
    black = np.zeros((224, 224, 3), np.uint8)
    rows = []
    for index in choose_images(encoded.test.labels, 4):
        maps = [
            (str(o.kind), heatmap(black, o.maps[index].numpy(), *score_range(o.maps.numpy())))
            for o in outcomes
        ]
        rows.append(panel([("mask", encoded.test.masks[index].numpy()), *maps]))
    save_png(np.concatenate(rows), Path(__file__).parent / f"{product}.png")


if __name__ == "__main__":
    main()
