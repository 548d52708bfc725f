"""Splits that try how robust methods are: fewer training images, anomalous ones among them.

What is chosen in a class depends on the seed, the class and its files' names alone: not on other
classes, nor on the order in which a disk lists files. A smaller share is part of a larger one.
"""

import logging
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from adpt.data.sample import Sample
from adpt.data.sampling import draw_seed
from adpt.errors import DataError

log = logging.getLogger(__name__)

_FRACTION, _NOISE = 1, 2


def keep_fraction(samples: Sequence[Sample], fraction: float, seed: int) -> list[Sample]:
    """All samples, but of the normal training images of each class and camera view a share.

    At least one image of each class and view is kept; `seed` decides which.
    """
    if fraction == 1:
        return list(samples)
    groups: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        if _is_normal_training(sample):
            groups[sample.class_name, sample.view].append(sample)
    kept: set[Path] = set()
    for (class_name, view), members in groups.items():
        count = max(1, round(fraction * len(members)))
        kept.update(_drawn(members, count, seed, _FRACTION, class_name, view))
    return [s for s in samples if not _is_normal_training(s) or s.image in kept]


def leave_out(samples: Sequence[Sample], classes: Sequence[str]) -> list[Sample]:
    """All samples but those of some classes.

    Raises:
        DataError: A class is not among the samples, or no other is.
    """
    if not classes:
        return list(samples)
    there = {sample.class_name for sample in samples}
    if not set(classes) < there:
        raise DataError(
            f"data.held_out={list(classes)}: name some of the classes in use, and not all of them;"
            f" they are {', '.join(sorted(there))}."
        )
    return [sample for sample in samples if sample.class_name not in classes]


def mix_in_anomalies(samples: Sequence[Sample], ratio: float, seed: int) -> list[Sample]:
    """Make training images of some anomalous test images, as if nobody had seen their defects.

    Those that are moved have split "train", label 0, no mask, `noise` True, and the kind of their
    defect as before. There are `ratio` for each normal training image of the class, chosen by
    `seed`; at least one anomalous test image of each class stays where it is, so that the class can
    still be evaluated.
    """
    if ratio == 0:
        return list(samples)
    normal: dict[str, int] = defaultdict(int)
    anomalous: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        normal[sample.class_name] += _is_normal_training(sample)
        if _is_anomalous_test(sample):
            anomalous[sample.class_name].append(sample)
    moved: set[Path] = set()
    for class_name, number in normal.items():
        there = anomalous[class_name]
        wanted = round(ratio * number)
        count = min(wanted, max(0, len(there) - 1))
        if count < wanted:
            log.warning(
                "data.noise_ratio=%g asks for %d anomalous test images of class '%s', which has"
                " %d: %d become training images",
                ratio,
                wanted,
                class_name,
                len(there),
                count,
            )
        moved.update(_drawn(there, count, seed, _NOISE, class_name))
    return [
        s.without_masks()._replace(label=0, split="train", noise=True)
        if _is_anomalous_test(s) and s.image in moved
        else s
        for s in samples
    ]


def _is_normal_training(sample: Sample) -> bool:
    return sample.split == "train" and sample.label == 0 and not sample.noise


def _is_anomalous_test(sample: Sample) -> bool:
    return sample.split == "test" and sample.label == 1


def _drawn(
    samples: Iterable[Sample], count: int, seed: int, purpose: int, *names: str
) -> list[Path]:
    """`count` of the images, drawn by seed, purpose and names."""
    images = sorted((sample.image for sample in samples), key=Path.as_posix)
    parts = [zlib.crc32(name.encode()) for name in names]
    order = np.random.default_rng(draw_seed(seed, purpose, *parts)).permutation(len(images))
    return [images[index] for index in order[:count]]
