"""What makes pretraining carry over to a new product, tried on cached features.

Every image is encoded once, plain and as two pairs of photometric views; a variant then trains a
projector on the sources and scores a product that is not among them with FeatureNorm.

    SHARED=<folder of data/, weights/> python experiments/real_small/variants.py CACHE [VARIANT]

CACHE is a folder for the features (about 1 GB). Without VARIANT, all of them run; `baselines` runs
those without a projector alone. Each line that is
printed also goes to CACHE/variants.jsonl.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adpt.backbones import build_backbone
from adpt.data import AnomalyDataModule, DrawnForPretraining, Folder, Sample
from adpt.data.reading import PlainImages
from adpt.data.synthetic import SyntheticDefects
from adpt.data.views import PhotometricViews
from adpt.losses import AngleContrastiveLoss, NormContrastiveLoss
from adpt.methods import FeatureNorm
from adpt.metrics import anomaly_metrics
from adpt.pretraining import patch_labels
from adpt.projector import FeatureProjector
from adpt.residual import reference_scale, residual_features

REAL = ("cookie", "hazelnut_toy", "magnetic_tile")
STEPS, BATCH, SHOTS, PATCHES = 80, 16, (1, 4, 8), 4096
METRICS = ("image_auroc", "pixel_auroc", "pixel_ap", "pixel_aupro")

# sources: real (the two other labelled products), drawn, both; everything else is off by default.
VARIANTS = {
    "drawn, scale by references": {"sources": "drawn", "identity": True, "by_references": True},
    "real, scale by references": {"sources": "real", "identity": True, "by_references": True},
    "both, scale by references": {"sources": "both", "identity": True, "by_references": True},
    "real, random start": {"sources": "real"},
    "real": {"sources": "real", "identity": True},
    "drawn": {"sources": "drawn", "identity": True},
    "real, scale by references, drawn defects": {
        "sources": "real", "identity": True, "by_references": True, "synthetic": True,
    },
    "drawn, scale by references, lr 3e-4": {
        "sources": "drawn", "identity": True, "by_references": True, "lr": 3e-4,
    },
    "real, norm loss only": {"sources": "real", "identity": True, "angle": 0},
    "real, angle loss only": {"sources": "real", "identity": True, "norm": 0},
}  # fmt: skip


class Product:
    """A product's cached features: levels of the plain images and of two pairs of views."""

    def __init__(self, path: Path) -> None:
        stored = torch.load(path)
        self.levels, self.masks, self.labels = stored["levels"], stored["masks"], stored["labels"]
        self.views, self.splits = stored["views"], stored["splits"]
        self.normal: dict[str, list[int]] = {}
        for index, (view, label) in enumerate(zip(self.views, self.labels.tolist(), strict=True)):
            if label == 0:
                self.normal.setdefault(view, []).append(index)

    def images(self, indices: list[int], version: int = 0) -> list[Tensor]:
        """Levels (B, C, h, w) of some images; version 0 is plain, 1 to 4 are views."""
        return [level[indices].float() for level in self.levels[version]]

    def references(self, indices: list[int]) -> list[Tensor]:
        """Levels as (k, T, C)."""
        return [level.flatten(2).transpose(1, 2) for level in self.images(indices)]


def encode(data: AnomalyDataModule, samples: list[Sample], backbone, synthetic: bool) -> dict:
    """Levels in half precision of the images, plain and as two pairs of views."""
    reader, views, draw = (
        PlainImages(samples, data.geometry),
        PhotometricViews(),
        SyntheticDefects(1),
    )
    versions: list[list[list[Tensor]]] = [[] for _ in range(5)]
    masks = []
    for start in range(0, len(samples), BATCH):
        read = [reader[index] for index in range(start, min(start + BATCH, len(samples)))]
        images, drawn = [item.image for item in read], [item.mask for item in read]
        if synthetic:
            images, drawn = zip(
                *(draw(image, start + k) for k, image in enumerate(images)), strict=True
            )
        masks += drawn
        pairs = [
            torch.stack([views(image, 1000 * start + 10 * k + pair)
                         for k, image in enumerate(images)])
            for pair in (0, 1)
        ]  # fmt: skip
        stacks = [torch.stack(list(images))] + [pair[:, view] for pair in pairs for view in (0, 1)]
        for version, stack in zip(versions, stacks, strict=True):
            version.append(backbone(stack))
    levels = [[torch.cat(parts).half() for parts in zip(*v, strict=True)] for v in versions]
    return {
        "levels": levels,
        "masks": torch.stack(masks),
        "labels": torch.tensor([int(synthetic or s.label) for s in samples]),
        "views": [s.view for s in samples],
        "splits": ["synthetic" if synthetic else s.split for s in samples],
    }


def fill_cache(cache: Path, shared: Path) -> None:
    """Encode what is not there yet."""
    cache.mkdir(parents=True, exist_ok=True)
    backbone = build_backbone(
        "mobilenetv2",
        levels=[2, 3, 4],
        weights=shared / "weights" / "mobilenetv2_100.safetensors",
    )
    real, drawn = Folder(shared / "data" / "labelled"), DrawnForPretraining(cache / "drawn")
    drawn.prepare_data()
    for data in (real, drawn):
        data.setup()
        for name in data.classes:
            samples = [sample for sample in data.samples if sample.class_name == name]
            jobs = {name: samples}
            if data is real:
                jobs[f"{name}.synthetic"] = [s for s in samples if s.label == 0][:80]
            else:  # 40 normal and 40 defective images of each drawn product
                rng = np.random.default_rng(0)
                jobs[name] = [
                    group[index]
                    for label in (0, 1)
                    for group in [[s for s in samples if s.label == label]]
                    for index in rng.permutation(len(group))[:40]
                ]
            for job, chosen in jobs.items():
                path = cache / f"{job}.pt"
                if not path.exists():
                    torch.save(encode(data, chosen, backbone, job.endswith("synthetic")), path)
                    print("encoded", job, len(chosen), flush=True)


def rows(level: Tensor) -> Tensor:
    """(B, C, h, w) to one row a patch."""
    return level.movedim(1, -1).flatten(0, -2)


def train(products: dict[str, Product], variant: dict, seed: int) -> FeatureProjector:
    """Train a projector on some products."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    any_product = next(iter(products.values()))
    widths = [level.shape[1] for level in any_product.levels[0]]
    by_references = variant.get("by_references", False)
    projector = FeatureProjector(
        widths, num_references=256, start_at_identity=variant.get("identity", False),
        scale_by_references=by_references,
    )  # fmt: skip
    scales = {}
    residuals: list[list[Tensor]] = [[] for _ in widths]
    for name, product in products.items():
        for view, members in product.normal.items():
            group = list(rng.permutation(members))
            scales[name, view] = reference_scale(product.references(group[:8]))
            for index in group[:30]:
                others = [other for other in rng.permutation(members) if other != index][:4]
                references = [lv.flatten(0, 1) for lv in product.references(others)]
                for level, made in enumerate(
                    residual_features(product.images([index]), references)
                ):
                    divisor = scales[name, view][level] if by_references else 1
                    residuals[level].append(rows(made) / divisor)
    centres = []
    for level, parts in enumerate(residuals):
        everything = torch.cat(parts)
        if not by_references:
            projector.scale[level] = everything.norm(dim=1).mean()
        centres.append(everything.mean(0) / (1 if by_references else projector.scale[level]))

    optimizer = torch.optim.Adam(
        projector.parameters(), lr=variant.get("lr", 1e-3), weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, [int(0.7 * STEPS), int(0.9 * STEPS)], 0.1
    )
    angle_loss, norm_loss = AngleContrastiveLoss(), NormContrastiveLoss()
    images = [(name, index) for name, p in products.items() for index in range(len(p.labels))]
    for _ in range(STEPS):
        shots = int(rng.choice(SHOTS))
        pair = 1 + 2 * int(rng.integers(2))
        views: list[list[list[Tensor]]] = [[], []]
        masks, batch_scales = [], []
        for choice in rng.choice(len(images), min(BATCH, len(images)), replace=False):
            name, index = images[choice]
            product = products[name]
            view = product.views[index]
            drawn = [o for o in rng.permutation(product.normal[view]) if o != index][:shots]
            references = [level.flatten(0, 1) for level in product.references(drawn)]
            for number in (0, 1):
                own = product.images([index], pair + number)
                views[number].append(residual_features(own, references))
            masks.append(product.masks[index])
            batch_scales.append(scales[name, view])
        both = [torch.cat([made[level] for view in views for made in view])
                for level in range(len(widths))]  # fmt: skip
        scale = torch.stack(batch_scales).repeat(2, 1) if by_references else None
        loss = torch.zeros(())
        for level, projected in enumerate(projector(both, scale)):
            first, second = (rows(view) for view in projected.chunk(2))
            covered, touched = patch_labels(torch.stack(masks), projected.shape[-2:])
            some = torch.randperm(len(first))[:PATCHES]
            loss = loss + variant.get("angle", 1) * angle_loss(
                first[some], second[some], covered[some], centres[level]
            )
            loss = loss + variant.get("norm", 1) * (
                norm_loss(first, touched) + norm_loss(second, touched)
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return projector.eval()


@torch.no_grad()
def score(product: Product, projector: FeatureProjector | None, seed: int, scaled: bool) -> dict:
    """FeatureNorm on residual features, projected where a projector is given."""
    normal = [i for i in product.normal[""] if product.splits[i] == "train"]
    test = [i for i, split in enumerate(product.splits) if split == "test"]
    chosen = list(np.random.default_rng(seed).permutation(normal)[:8])
    references = product.references(chosen)
    levels = residual_features(product.images(test), [lv.flatten(0, 1) for lv in references])
    scale = reference_scale(references)
    if projector is not None:
        by = scale if projector.scale_by_references else None
        parts = [projector([level[i : i + BATCH] for level in levels], by)
                 for i in range(0, len(test), BATCH)]  # fmt: skip
        levels = [torch.cat(level) for level in zip(*parts, strict=True)]
    elif scaled:
        levels = [level / divisor for level, divisor in zip(levels, scale, strict=True)]
    scores = FeatureNorm(image_size=224).score(levels)
    metrics = anomaly_metrics(
        scores.maps, product.masks[test], scores.image, labels=product.labels[test]
    )
    return {name: round(metrics[name], 4) for name in METRICS}


@torch.no_grad()
def lengths(product: Product) -> dict:
    """Mean norm of the test images' residual features on normal and on defective patches."""
    normal = [i for i in product.normal[""] if product.splits[i] == "train"]
    test = [i for i, split in enumerate(product.splits) if split == "test"]
    chosen = list(np.random.default_rng(0).permutation(normal)[:8])
    references = [level.flatten(0, 1) for level in product.references(chosen)]
    found = {}
    for level, residual in enumerate(residual_features(product.images(test), references), start=1):
        _, touched = patch_labels(product.masks[test], residual.shape[-2:])
        norms = rows(residual).norm(dim=1)
        found[f"normal_{level}"] = round(norms[~touched].mean().item(), 1)
        found[f"defective_{level}"] = round(norms[touched].mean().item(), 1)
    return found


def joined(product: Product, synthetic: Product) -> Product:
    """A product with its images with drawn defects added."""
    product.levels = [
        [torch.cat(pair) for pair in zip(own, drawn, strict=True)]
        for own, drawn in zip(product.levels, synthetic.levels, strict=True)
    ]
    product.masks = torch.cat([product.masks, synthetic.masks])
    product.labels = torch.cat([product.labels, synthetic.labels])
    product.views, product.splits = (
        product.views + synthetic.views,
        product.splits + synthetic.splits,
    )
    return product


def main() -> None:
    """Run the variants that the command line names."""
    cache, names = Path(sys.argv[1]), sys.argv[2:]
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    fill_cache(cache, Path(os.environ["SHARED"]))
    drawn = sorted(p.stem for p in cache.glob("*.pt") if p.stem.split(".")[0] not in REAL)

    def report(name: str, target: str, seconds: float, metrics: dict) -> None:
        line = {"variant": name, "target": target, "seconds": round(seconds), **metrics}
        print(json.dumps(line), flush=True)
        with (cache / "variants.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    if not names or names == ["baselines"]:
        for target in REAL:
            product = Product(cache / f"{target}.pt")
            report("lengths of residuals", target, 0, lengths(product))
            report("residual, no projector", target, 0, score(product, None, 0, False))
            report("residual, scaled by references", target, 0, score(product, None, 0, True))
    for name in [] if names == ["baselines"] else names or VARIANTS:
        variant = VARIANTS[name]
        for target in REAL:
            sources = {}
            if variant["sources"] in ("real", "both"):
                for other in set(REAL) - {target}:
                    sources[other] = Product(cache / f"{other}.pt")
                    if variant.get("synthetic"):
                        joined(sources[other], Product(cache / f"{other}.synthetic.pt"))
            if variant["sources"] in ("drawn", "both"):
                sources |= {other: Product(cache / f"{other}.pt") for other in drawn}
            started = time.perf_counter()
            projector = train(dict(sorted(sources.items())), variant, seed=0)
            seconds = time.perf_counter() - started
            report(
                name, target, seconds, score(Product(cache / f"{target}.pt"), projector, 0, True)
            )


if __name__ == "__main__":
    main()
