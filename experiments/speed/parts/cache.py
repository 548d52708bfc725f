"""The feature cache: reading clip_l sized features against encoding the images again."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from measuring import MB, Row, in_turns, peak_memory, seconds, threads

from adpt.backbones import Backbone, build_backbone
from adpt.evaluation.feature_cache import FeatureCache, FeatureSpace
from adpt.evaluation.features import Cached, Features

MODEL = "vit_large_patch14_clip_quickgelu_224.openai"
IMAGES, ENCODED, BATCH = 83, 8, 4
LEVELS = [(1024, 16, 16)] * 4
BATCH_MB = BATCH * sum(4 * c * h * w for c, h, w in LEVELS) / MB
HELD = 8
"""Batches in memory at most: let go, in use and read ahead, and what malloc keeps of others."""
CPU = torch.device("cpu")


def rows() -> Iterator[Row]:
    """Reading against encoding, and the memory of one pass."""
    with tempfile.TemporaryDirectory() as folder, threads(2):
        backbone = build_backbone(MODEL, pretrained=False)
        images = drawn_images(ENCODED)
        space = cache_space(folder)
        check(space, backbone, images)
        fill(folder)
        some = features(folder, ENCODED)
        measured = in_turns(
            lambda: list(some.batches(BATCH, CPU)), lambda: backbone(images), runs=3, warm=False
        )
        yield Row(
            "feature cache",
            f"{ENCODED} images, 4 levels of 1024×16×16 float32, read",
            other_name="encoded by a ViT-L/14 with random weights",
            goal=10.0,
            note="files in the page cache; 2 threads on both sides",
            **measured,
        )
        everything = features(folder, IMAGES)
        one_pass = seconds(lambda: [None for _ in everything.batches(BATCH, CPU)])
        yield Row("feature cache", f"{IMAGES} images read, {BATCH} at a time", one_pass)
        peak = peak_memory("parts.cache", "reading", folder, IMAGES)
        longer = peak_memory("parts.cache", "reading", folder, 4 * IMAGES)
        whole = IMAGES / BATCH * BATCH_MB
        yield Row(
            "feature cache",
            f"peak of a pass over {IMAGES} images",
            peak,
            whole,
            "all features",
            "MB",
            ratio=whole / peak,
            low=whole / peak,
            high=whole / peak,
            goal=HELD * BATCH_MB,
            kind="limit",
            note=f"goal: {HELD} batches of {BATCH} images, {BATCH_MB:.0f} MB each;"
            f" {longer:.0f} MB with four times as many images",
        )


def cache_space(folder: str) -> FeatureSpace:
    """The part of the cache that is measured."""
    return FeatureCache(folder).space(kind="measured")


def drawn_images(number: int) -> torch.Tensor:
    """Random images, (number, 3, 224, 224) uint8."""
    draws = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (number, 3, 224, 224), dtype=torch.uint8, generator=draws)


def check(space: FeatureSpace, backbone: Backbone, images: torch.Tensor) -> None:
    """What is read is what was encoded, bit by bit."""
    levels = backbone(images[:2])
    for number, image in enumerate(zip(*levels, strict=True)):
        space.write(key(number), image)
    read = space.read([key(0), key(1)])
    if [level.shape[1:] for level in read] != LEVELS:
        raise AssertionError(f"{MODEL} gives other levels than {LEVELS}")
    if not all(torch.equal(a, b) for a, b in zip(read, levels, strict=True)):
        raise AssertionError("The cache gives other features than were written")


def key(number: int) -> str:
    """The key of an image."""
    return f"{number:064x}"


def fill(folder: str) -> None:
    """Write features of all images."""
    draws, space = torch.Generator().manual_seed(1), cache_space(folder)
    for number in range(IMAGES):
        space.write(key(number), [torch.randn(*shape, generator=draws) for shape in LEVELS])


def features(folder: str, number: int) -> Features:
    """The features of so many images, as a method gets them; beyond `IMAGES` they repeat."""

    def make(rows: object) -> list[torch.Tensor]:
        raise AssertionError(f"The features of {rows} are missing")

    return Features(
        Cached(cache_space(folder), [key(n % IMAGES) for n in range(number)], make),
        torch.zeros(number, 1, 1, dtype=torch.bool),
        torch.zeros(number, dtype=torch.int64),
        [str(Path("drawn") / str(n)) for n in range(number)],
        [],
    )


def reading(folder: str, number: int) -> Callable[[], None]:
    """Set up a pass over so many images that keeps nothing."""
    everything = features(folder, number)
    everything.read([0])  # What PyTorch sets up once is no part of it.

    def one_pass() -> None:
        for levels in everything.batches(BATCH, CPU):
            float(levels[0].sum())

    return one_pass
