"""All seven metrics of 100 maps of 224² pixels, against the loop over 200 thresholds."""

from collections.abc import Callable, Iterator

import numpy as np
from literal.metrics import Bools, Floats, exact_metrics, literal_metrics
from measuring import Row, in_turns, peak_memory

from adpt.metrics import anomaly_metrics

IMAGES, SIZE = 100, 224
TOLERANCE = 1e-4
RANGES: dict[str, Callable[[Floats], Floats]] = {
    "[0, 1]": lambda scores: (scores - scores.min()) / np.ptp(scores),
    "1e-6 wide": lambda scores: 1e-6 * (scores - scores.min()) / np.ptp(scores),
    "negative": lambda scores: scores - 1000,
    "around 1e6": lambda scores: scores + 1e6,
    "ties": lambda scores: np.round(4 * scores),
}


def drawn(images: int, size: int) -> tuple[Floats, Bools]:
    """Smooth float32 maps, and masks with two squares in each of half the images."""
    rng = np.random.default_rng(0)
    masks = np.zeros((images, size, size), dtype=bool)
    side = size // 8
    for mask in masks[: images // 2]:
        for y, x in rng.integers(0, size - side, size=(2, 2)):
            mask[y : y + side, x : x + side] = True
    coarse = rng.normal(size=(images, 14, 14)).repeat(size // 14, 1).repeat(size // 14, 2)
    maps = coarse + 0.5 * rng.normal(size=masks.shape) + 1.5 * masks
    return maps.astype(np.float32), masks


def check_every_range() -> None:
    """Ours equals sklearn and a literal AUPRO with a point for each distinct score."""
    maps, masks = drawn(6, 28)
    for name, stretch in RANGES.items():
        scores = stretch(maps).astype(np.float32)
        found = anomaly_metrics(scores, masks)
        for metric, value in exact_metrics(scores, masks).items():
            if abs(found[metric] - value) > TOLERANCE:
                raise AssertionError(f"{metric} of {name}: {found[metric]}, exactly {value}")


def ours() -> Callable[[], dict[str, float]]:
    """All seven."""
    maps, masks = drawn(IMAGES, SIZE)
    return lambda: anomaly_metrics(maps, masks)


def literal() -> Callable[[], dict[str, float]]:
    """All seven, literally."""
    maps, masks = drawn(IMAGES, SIZE)
    return lambda: literal_metrics(maps, masks)


def rows() -> Iterator[Row]:
    """Time, and memory of ours."""
    check_every_range()
    maps, masks = drawn(IMAGES, SIZE)
    found, expected = anomaly_metrics(maps, masks, paper_aupro=True), literal_metrics(maps, masks)
    for metric, value in expected.items():
        if abs(found[metric] - value) > TOLERANCE:
            raise AssertionError(f"{metric}: {found[metric]}, literally {value}")
    yield Row(
        "all seven metrics",
        f"{IMAGES} maps of {SIZE}², half of them with two anomalous regions",
        **in_turns(
            lambda: anomaly_metrics(maps, masks), lambda: literal_metrics(maps, masks), 3, False
        ),
        other_name="200 thresholds, regions found anew at each; scikit-learn for the others",
        goal=150,
        note=f"AUPRO exact, theirs from 200 thresholds; within {TOLERANCE:g} of exact on scores in "
        + ", ".join(RANGES),
    )
    stated = (6 * maps.size + 80 * int(masks.sum())) / 2**20
    yield Row(
        "the same, memory",
        "what it adds to maps and masks",
        peak_memory("parts.metrics", "ours"),
        unit="MB",
        goal=1.1 * stated,
        kind="limit",
        note="6 bytes a pixel and 80 an anomalous one, as the docstring states, and a tenth more",
    )
