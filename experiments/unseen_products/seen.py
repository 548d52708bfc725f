"""Views of source products: as they are, or changed in colour and sharpness, and what that costs.

    SHARED=<folder of data/ and weights/> python experiments/unseen_products/seen.py CACHE

writes views.csv beside this file: of the products of the seven reported groups, how long normal
patches' residuals are in each kind of views, how well length tells defects, and how alike two
views of a patch are. CACHE is that of run.py.
"""

import csv
import os
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import encode
import torch
from products import CHOOSING, GROUP_OF, PRODUCTS
from run import NETWORKS, drawn_views
from stored import Product, load_product
from torch import Tensor
from torch.nn import functional as F

from adpt.backbones import build_backbone
from adpt.data import DrawnForPretraining, Folder
from adpt.data.reading import PlainImages
from adpt.data.views import Drawn, PhotometricViews, draw
from adpt.metrics import average_precision
from adpt.pretraining.patches import patch_labels
from adpt.residual import reference_scale, residual_features

CHANGES = 16
"""Ways of seeing a product's images together with its references."""

Pair = tuple[tuple[str, int], tuple[str, int]]
"""Kind and number of the two views that a step takes of an image."""


def both(kind: str) -> Pair:
    """Both views of a kind."""
    return (kind, 0), (kind, 1)


PLAIN: Pair = (("plain", 0), ("plain", 0))


class Views(NamedTuple):
    """A source product: two views' (N, C, h, w) residuals a level, and what they show."""

    pair: list[list[Tensor]]
    masks: Tensor
    labels: Tensor
    scale: Tensor


def views_of(cache: Path, network: str, name: str, pair: Pair) -> Views:
    """Two views of a source product's images, each kind encoded once."""
    views = []
    for kind, number in pair:
        path = cache / f"{network}.{name}.views.{kind}.pt"
        if not path.exists():
            torch.save(encoded(cache, network, name, kind), path)
            print("views of", network, name, kind, flush=True)
        stored = torch.load(path, mmap=True)
        views.append([level[number] for level in stored.pop("levels")])
    return Views(views, **stored)


def sources_seen(
    cache: Path, network: str, names: Sequence[str], real: Pair, drawn: Pair | None
) -> list[Views]:  # fmt: skip
    """The views of some real products and, with a pair of theirs, of all drawn ones."""
    views = [views_of(cache, network, name, real) for name in names]
    if drawn:
        views += [views_of(cache, network, name, drawn) for name in drawn_views(cache, network)]
    return views


def encoded(cache: Path, network: str, name: str, kind: str) -> dict:
    """Residuals of a product's views: as it is, or two that photometric changes make."""
    product = load_product(cache, network, name, **encode.LIMITS)
    parts = (product.train, product.test)
    if kind == "plain":
        levels = [torch.cat([part.residual[i] for part in parts])[None]
                  for i in range(len(product.references))]  # fmt: skip
    else:
        levels = changed_residuals(cache, network, product, kind)
    return {
        "levels": [level.half() for level in levels],
        "masks": torch.cat([part.masks for part in parts]),
        "labels": torch.cat([part.labels for part in parts]),
        "scale": product.scale,
    }


@torch.no_grad()
def changed_residuals(cache: Path, network: str, product: Product, kind: str) -> list[Tensor]:
    """(2, N, C, h, w) residuals a level of two photometric views of each image.

    `full` are as published, `weak` a quarter as strong, both against references as they are. What
    is seen `together` with its references is changed as they are, in units of their residuals.
    """
    names = [*product.train.names, *product.test.names]
    images = images_of(cache, product.name)
    weights = {"mobilenetv2": Path(os.environ["SHARED"]) / "weights/mobilenetv2_100.safetensors"}
    backbone = build_backbone(network, levels=encode.LEVELS, weights=weights.get(network))
    view = PhotometricViews().view
    start = zlib.crc32(product.name.encode())
    ways = [draw(torch.Generator().manual_seed(start + way)) for way in range(CHANGES)]
    references, scales = [product.references], [product.scale]
    if kind == "together":
        chosen = [images[one] for one in product.chosen]
        seen = [backbone(torch.stack([view(image, way) for image in chosen])) for way in ways]
        references = [[level.flatten(2).transpose(1, 2) for level in levels] for levels in seen]
        scales = [reference_scale(levels) for levels in references]
    rows = []
    for index, one in enumerate(names):
        draws = torch.Generator().manual_seed(index)
        if kind == "together":
            against = torch.randperm(CHANGES, generator=draws)[:2].tolist()
            changes = [ways[way] for way in against]
        else:
            against, changes = [0, 0], [draw(draws) for _ in range(2)]
        if kind == "weak":
            changes = [weakened(change) for change in changes]
        seen = backbone(torch.stack([view(images[one], change) for change in changes]))
        rest = [k for k, other in enumerate(product.chosen) if other != one]
        among = [torch.stack([references[way][i][rest].flatten(0, 1) for way in against])
                 for i in range(len(seen))]  # fmt: skip
        units = torch.stack([product.scale / scales[way] for way in against])
        residual = residual_features(seen, among)
        rows.append([level * unit[:, None, None, None]
                     for level, unit in zip(residual, units.T, strict=True)])  # fmt: skip
    return [torch.stack(level, 1) for level in zip(*rows, strict=True)]


def weakened(change: Drawn) -> Drawn:
    """A change of a quarter of the strength, which leaves the colours."""
    jitter = [(kind, amount / 4 if kind == 3 else 1 + (amount - 1) / 4)
              for kind, amount in change.jitter]  # fmt: skip
    return Drawn(jitter, False, change.sigma and change.sigma / 4)


def images_of(cache: Path, name: str) -> dict[str, Tensor]:
    """A product's images by the names that `encode.py` gives them."""
    if name in PRODUCTS:
        data = Folder(Path(os.environ["SHARED"]) / "data" / PRODUCTS[name], classes=[name])
        data.setup()
        samples = [s for s in data.samples if s.class_name == name]
    else:
        data = DrawnForPretraining(cache / "drawn", normal=12, anomalous=12)
        data.setup()
        samples = [s for s in data.samples if f"drawn_{s.class_name}_{s.view}" == name]
    reader = PlainImages(samples, data.geometry)
    return {f"{s.split}/{s.defect}/{s.image.name}": reader[i].image
            for i, s in enumerate(samples)}  # fmt: skip


def main() -> None:
    """Measure each kind of views."""
    torch.set_num_threads(int(os.environ.get("THREADS", "1")))
    cache, network = Path(sys.argv[1]), NETWORKS[0]
    sources = [name for name in PRODUCTS if GROUP_OF[name] not in CHOOSING]
    with Path(__file__).with_name("views.csv").open("w", newline="") as lines:
        rows = csv.writer(lines)
        rows.writerow(("kind", "product", "stride", "length", "average_precision", "likeness"))
        for kind in ("plain", "weak", "full", "together"):
            for name in sources:
                seen = views_of(cache, network, name, PLAIN if kind == "plain" else both(kind))
                for level, stride in enumerate((8, 16, 32)):
                    told = [f"{value:.3f}" for value in told_apart(seen, level)]
                    rows.writerow((kind, name, stride, *told))


def told_apart(seen: Views, level: int) -> tuple[float, float, float]:
    """Of the first view normal patches' length and the AP of lengths; cosine of both views."""
    first, second = (view[level].float() for view in seen.pair)
    lengths = first.norm(dim=1) / seen.scale[level]
    covered, touched = patch_labels(seen.masks, first.shape[-2:])
    kept, normal = covered | ~touched, seen.labels == 0
    precision = average_precision(lengths.flatten()[kept], covered[kept])
    alike = F.cosine_similarity(first, second, dim=1)[normal].mean()
    return float(lengths[normal].mean()), float(precision), float(alike)


if __name__ == "__main__":
    main()
