"""How time grows when something doubles, and whether memory stays within its formula."""

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from measuring import MB, Row, peak_memory, seconds

from adpt.backbones import build_backbone
from adpt.evaluation import extract
from adpt.methods import PaDiM, PatchCore
from adpt.methods.coreset import greedy_coreset
from adpt.methods.nearest_patches import NearestPatches
from adpt.metrics import anomaly_metrics
from adpt.residual import residual_features
from parts.trained import draw, read

Work = Callable[[], object]
SLACK = 1.25
"""Times theory that a doubling may cost: caches fill, and the machine is noisy."""
RUNS = 5
CPU = torch.device("cpu")


def metrics(images: int, side: int) -> Work:
    """All seven metrics."""
    maps = _normal(images, side, side)
    masks = torch.zeros(images, side, side, dtype=torch.bool)
    masks[::2, : side // 8, : side // 4] = True
    return lambda: anomaly_metrics(maps, masks)


def padim_fit(images: int, channels: int) -> Work:
    """Fit PaDiM to a level of 16 × 16."""
    level = _normal(images, channels, 16, 16)
    return lambda: PaDiM(64).fit([[level]])


def padim_score(images: int, trained: int) -> Work:
    """Score a level of 512 × 8 × 8."""
    method = PaDiM(64)
    method.fit([[_normal(trained, 512, 8, 8)]])
    level = _normal(images, 512, 8, 8)
    return lambda: method.score([level])


def coreset(points: int) -> Work:
    """Pick a tenth of some points of 128 numbers."""
    drawn = _normal(points, 128)
    return lambda: greedy_coreset(drawn, points // 10, torch.Generator().manual_seed(0))


def patchcore_bank(images: int) -> Work:
    """Fit PatchCore to three levels of 64 × 14 × 14, with 256 numbers a patch."""
    levels = [_normal(images, 64, 14, 14) for _ in range(3)]
    return lambda: PatchCore(64, embedding_dim=256).fit([levels])


def search(queries: int, bank: int) -> Work:
    """Look for the nearest of a bank of patches of 512 numbers."""
    patches, known = _normal(queries, 512), _normal(bank, 512)
    return lambda: NearestPatches(known).find(patches)[0]


def matching(images: int, references: int) -> Work:
    """Residual features of levels of 384 × 16 × 16."""
    level = _normal(images, 384, 16, 16)
    own = _normal(references * 256, 384)
    return lambda: residual_features([level], [own])


def evaluation(classes: int, images: int) -> Work:
    """Encode classes and run PaDiM on each, one after the other, nothing kept between them."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    for number in range(classes):
        draw(folder / f"product_{number}", images, 64)
    data = read(folder, 64)
    backbone = build_backbone("efficientnet_lite0")

    def work() -> None:
        for name in data.classes:
            features = extract(backbone, data, data.select("train", class_name=name), device=CPU)
            method = PaDiM(64)
            method.fit(features.batches(8, CPU))
            list(map(method.score, features.batches(8, CPU)))

    return work


DOUBLINGS: list[tuple[str, str, Callable[..., Work], tuple[int, ...], int, float]] = [
    ("metrics", "images", metrics, (50, 224), 0, 2),
    ("metrics", "side of the maps", metrics, (50, 224), 1, 4),
    ("residual features", "images", matching, (16, 4), 0, 2),
    ("residual features", "references", matching, (16, 4), 1, 2),
    ("PaDiM fit", "images, fewer than channels", padim_fit, (48, 512), 0, 4),
    ("PaDiM fit", "channels", padim_fit, (48, 512), 1, 2),
    ("PaDiM score", "images", padim_score, (64, 32), 0, 2),
    ("PaDiM score", "training images", padim_score, (64, 32), 1, 2),
    ("PatchCore coreset", "points, and picks with them", coreset, (8000,), 0, 4),
    ("PatchCore fit", "images", patchcore_bank, (16,), 0, 4),
    ("evaluation by PaDiM", "classes", evaluation, (2, 16), 0, 2),
    ("PatchCore search", "patches", search, (8192, 2000), 0, 2),
    ("PatchCore search", "bank", search, (8192, 2000), 1, 2),
]
"""Stage, what doubles, the work, its sizes, which of them doubles, growth that theory allows."""


def rows() -> Iterator[Row]:
    """Growth of time, then memory against its formula."""
    for stage, what, work, sizes, index, theory in DOUBLINGS:
        doubled = tuple(size * (1 + (i == index)) for i, size in enumerate(sizes))
        yield _growth(stage, what, partial(work, *sizes), partial(work, *doubled), theory)
    for stage, formula, name, sizes, bound in _memory():
        peak = peak_memory("parts.growth", name, *sizes)
        yield Row(
            "memory",
            f"{stage}: {formula}",
            peak,
            unit="MB",
            goal=bound,
            kind="limit",
        )


def _growth(
    stage: str, what: str, once: Callable[[], Work], twice: Callable[[], Work], theory: float
) -> Row:
    small, large = once(), twice()
    small()
    large()
    ratios = []
    for run in range(RUNS):
        sides = [large, small] if run % 2 else [small, large]
        measured = {side: seconds(side) for side in sides}
        ratios.append(measured[large] / measured[small])
    ratios.sort()
    return Row(
        "growth",
        f"{stage}, twice the {what}",
        ratios[RUNS // 2],
        unit="×",
        goal=theory * SLACK,
        kind="limit",
        note=f"theory {theory:g}, {ratios[0]:.2f}–{ratios[-1]:.2f}",
    )


def _memory() -> Iterator[tuple[str, str, str, tuple[int, ...], float]]:
    """Stage, formula in words, work, sizes, and the formula's MB for these."""
    pixels = 200 * 224**2
    marked = 100 * 28 * 56
    yield (
        "metrics, 200 maps of 224²",
        "6 bytes a pixel, 80 more an anomalous one",
        "metrics",
        (200, 224),
        (6 * pixels + 80 * marked) / MB,
    )
    for classes in (1, 4):
        levels = build_backbone("efficientnet_lite0")(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
        state = sum(2 * 32 * level.numel() + 32**2 * level[0, 0].numel() for level in levels)
        yield (
            f"evaluation by PaDiM, {classes} classes of 32 images of 64²",
            "the features of one class twice, whitening of 32² a position, 128 MB",
            "evaluation",
            (classes, 32),
            4 * state / MB + 128,
        )
    level = 4 * 64 * 384 * 256 / MB
    own = 4 * 8 * 256 * 384 / MB
    yield (
        "residual features, 64 images, 8 references",
        "three levels, references twice, two tiles of 8 MB, 72 MB for the matrix product",
        "matching",
        (64, 8),
        3 * level + 2 * own + 88,
    )
    yield (
        "PatchCore search, 40,000 patches in a bank of 8,000",
        "the bank twice, two tiles of 8 MB, 72 MB for the matrix product, two numbers a patch",
        "search",
        (40_000, 8_000),
        (2 * 4 * 8_000 * 512 + 16 * 40_000) / MB + 88,
    )


def _normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))
