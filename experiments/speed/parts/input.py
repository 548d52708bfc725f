"""Decode, resize and two photometric views, on one core, against the plain pipeline."""

import tempfile
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import torch
from literal.input import MEAN, STD, resized, seeded_views, two_views
from measuring import Row, in_turns, threads
from PIL import Image
from torch import Tensor

from adpt.backbones import build_backbone
from adpt.data.images import read_image
from adpt.data.transforms import Geometry
from adpt.data.views import PhotometricViews

IMAGES, SIDE, QUALITY = 32, 512, 90
TOLERANCE = 3
"""Of 255: each operation may differ by 1 in rounding, and contrast stretches that by 1.4."""
GEOMETRY, VIEWS = Geometry(224), PhotometricViews()
SHIFT, SCALE = (255 * torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))


def rows() -> Iterator[Row]:
    """The whole way of an image, the views alone, and what a backbone takes meanwhile."""
    with tempfile.TemporaryDirectory() as folder, threads(1):
        paths = draw(Path(folder))
        check(paths)
        seeds, others = count(), count()
        yield row(
            f"{SIDE} px JPEG decoded, resized to 224, two views, normalised; one core",
            in_turns(
                lambda: [normalised(ours(path, next(seeds))) for path in paths],
                lambda: [two_views(path, next(others)) for path in paths],
            ),
            "PIL and torchvision",
            note="same seeds; every run draws new views",
            goal=2.0,
        )
        images = [resized(path) for path in paths]
        first, second = count(), count()
        yield row(
            "two views of a 224 px uint8 image; one core",
            in_turns(
                lambda: [VIEWS(image, next(first)) for image in images],
                lambda: [seeded_views(image, next(second)) for image in images],
            ),
            "torchvision v2 on the same tensor, same seeds",
            note=f"within {TOLERANCE} of 255, and equal but for 1 value in 1,000",
        )
        backbone = build_backbone("vit_small_patch14_dinov2.lvd142m", pretrained=False)
        batch = torch.cat([ours(path, 0) for path in paths])
        yield row(
            "read for pretraining, one core: the loader against the backbone",
            in_turns(
                lambda: [ours(path, next(seeds)) for path in paths],
                lambda: [backbone(part) for part in batch.split(16)],
            ),
            "dinov2-small's forward pass over both views, one core",
            note="above 1 a worker's core feeds more than one core of the smallest backbone",
            goal=1.0,
        )


def row(work: str, measured: dict[str, float], other: str, **more: object) -> Row:
    """A row in images a second, from seconds for all images."""
    rates = {side: IMAGES / measured[side] for side in ("ours", "other")}
    return Row("input", work, other_name=other, unit="images/s", **measured | rates | more)


def ours(path: Path, seed: int) -> Tensor:
    """What the data module does with a normal image in pretraining."""
    return VIEWS(GEOMETRY.image(read_image(path, "drawn")), seed)


def normalised(views: Tensor) -> Tensor:
    """What is left to the backbone."""
    return views.float().sub_(SHIFT).div_(SCALE)


def check(paths: Sequence[Path]) -> None:
    """Compare with the plain pipeline: pictures exactly, views with the same numbers drawn."""
    for seed, path in enumerate(paths):
        image = GEOMETRY.image(read_image(path, "drawn"))
        if not torch.equal(image, resized(path)):
            raise AssertionError(f"{path}: another picture than the plain pipeline's")
        difference = (VIEWS(image, seed).int() - seeded_views(image, seed).int()).abs()
        if difference.max() > TOLERANCE or (difference > 0).float().mean() > 1e-3:
            raise AssertionError(f"Seed {seed}: other views than torchvision's")


def draw(folder: Path) -> list[Path]:
    """Draw JPEGs of coloured blobs and grain."""
    draws = np.random.default_rng(0)
    paths = []
    for number in range(IMAGES):
        coarse = Image.fromarray(draws.integers(0, 256, (24, 24, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float64)
        pixels = (smooth + draws.normal(0, 4, smooth.shape)).clip(0, 255).astype(np.uint8)
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=QUALITY)
    return paths
