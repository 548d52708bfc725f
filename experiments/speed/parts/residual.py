"""Residual features where all images share their references: 20 normal images, as inspectors do."""

from collections.abc import Callable, Iterator, Sequence

import torch
from literal.pretraining import residuals
from measuring import MB, Row, in_turns, peak_memory, threads
from torch import Tensor

from adpt.residual import residual_features

SIZES = ((24, 56), (1024, 16))
"""Channels and side of a level: MobileNetV2's finest, and one of a ViT-L/14's."""
IMAGES, REFERENCES = 8, 20


def drawn(channels: int, side: int) -> tuple[Tensor, Tensor]:
    """A level of the images, and the same level of the reference images."""
    generator = torch.Generator().manual_seed(0)
    shape = (channels, side, side)
    level, own = (torch.randn(n, *shape, generator=generator) for n in (IMAGES, REFERENCES))
    return level, own


def ours(channels: int, side: int) -> Callable[[], object]:
    """Match the images; after a first time, so that torch has loaded what it needs."""
    level, own = drawn(channels, side)
    references = own.permute(0, 2, 3, 1).flatten(0, 2)
    residual_features([level[:1]], [references[:100]])
    return lambda: residual_features([level], [references])


def rows(sizes: Sequence[tuple[int, int]] = SIZES) -> Iterator[Row]:
    """Time against the loop over images, and the memory that is added."""
    for channels, side in sizes:
        level, own = drawn(channels, side)
        references = own.permute(0, 2, 3, 1).flatten(0, 2)
        work = f"{IMAGES} images, {channels}×{side}×{side}, {len(references)} references"
        with threads(2):
            (found,) = residual_features([level], [references])
            (expected,) = residuals([level], [[own]] * IMAGES)
            # Two references that are equally near but for rounding may change places.
            differing = (found - expected).abs().amax(1) > 1e-5
            if differing.float().mean() > 1e-3:
                raise AssertionError(f"{work}: other residuals than the loop's")
            yield Row(
                "residual features",
                work,
                **in_turns(
                    lambda level=level, references=references: residual_features(
                        [level], [references]
                    ),
                    lambda level=level, own=own: residuals([level], [[own]] * IMAGES),
                    runs=3,
                ),
                other_name="image by image, all similarities at once",
                note="equal but for 1 patch in 1,000",
            )
        stated = (3 * level.nbytes + references.nbytes) / MB + 16 + 72
        yield Row(
            "the same, memory",
            work,
            peak_memory("parts.residual", "ours", channels, side),
            unit="MB",
            goal=stated,
            kind="limit",
            note="the level three times, the references' directions, two tiles of 8 MB and 72 MB"
            " for the matrix product",
        )
