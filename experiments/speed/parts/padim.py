"""PaDiM: fit and score, against whole covariances and their inverses."""

import statistics
from collections.abc import Callable, Iterator

import torch
from literal import padim as literal
from measuring import MB, Row, peak_memory, seconds, threads
from torch import Tensor

from adpt.methods import PaDiM

TRAIN, TEST, LEVELS, CHANNELS, SIDE, SIZE = 209, 83, 4, 1024, 16, 224
PART_SIDE = 4
"""The literal side is measured at 4 × 4 of the 16 × 16 positions: each takes the same."""

RUNS = 5
TOLERANCE = 1e-3


def drawn(side: int) -> tuple[list[Tensor], list[Tensor]]:
    """Training and test images' levels: a layout, variation in 20 directions, and noise."""
    generator = torch.Generator().manual_seed(0)
    layout = torch.randn(CHANNELS, side, side, generator=generator)
    directions = torch.randn(20, CHANNELS, generator=generator)

    def level(images: int) -> Tensor:
        weights = torch.randn(images, side, side, 20, generator=generator)
        noise = torch.randn(images, CHANNELS, side, side, generator=generator)
        return layout + (weights @ directions).permute(0, 3, 1, 2).contiguous() + 0.3 * noise

    return [level(TRAIN) for _ in range(LEVELS)], [level(TEST) for _ in range(LEVELS)]


def fit_and_score(train: list[Tensor], test: list[Tensor]) -> Tensor:
    """Our maps."""
    method = PaDiM(SIZE)
    method.fit([train])
    return method.score(test).maps


def ours(side: int) -> Callable[[], object]:
    """Fit and score at side² positions."""
    train, test = drawn(side)
    return lambda: fit_and_score(train, test)


def literally(side: int) -> Callable[[], object]:
    """The same, literally."""
    train, test = drawn(side)
    return lambda: literal.literal_maps(train, test, (SIZE, SIZE))


def compare() -> dict[str, float]:
    """As `measuring.in_turns`, the literal side from a part of the positions and all maps."""
    train, test = drawn(SIDE)
    part_train, part_test = drawn(PART_SIDE)
    found = fit_and_score(part_train, part_test).double().numpy()
    distances = []

    def positions() -> None:
        fitted = [literal.fit(level) for level in part_train]
        distances[:] = [
            literal.distances(level, one) for level, one in zip(part_test, fitted, strict=True)
        ]

    positions()
    expected = literal.maps(distances, (SIZE, SIZE))
    if abs(found / expected - 1).max() > TOLERANCE:
        raise AssertionError(f"maps differ by {abs(found / expected - 1).max():.2g}")

    pairs = []
    for _ in range(RUNS):
        own = seconds(lambda: fit_and_score(train, test))
        each = seconds(positions) / PART_SIDE**2
        maps = seconds(lambda: literal.maps(distances, (SIZE, SIZE)))
        pairs.append((own, each * SIDE**2 + maps))
    ratios = [other / own for own, other in pairs]
    return {
        "ours": statistics.median(own for own, _ in pairs),
        "other": statistics.median(other for _, other in pairs),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
    }


def rows() -> Iterator[Row]:
    """Time and memory."""
    work = f"{TRAIN} training and {TEST} test images, {LEVELS} levels of {CHANNELS}×{SIDE}×{SIDE}"
    with threads(2):
        measured = compare()
    yield Row(
        "PaDiM",
        f"fit and score {work}",
        **measured,
        other_name="covariance and inverse at every position, float64",
        goal=10,
        note=f"maps within {TOLERANCE:g} relative; the literal positions at "
        f"{PART_SIDE}×{PART_SIDE} of {SIDE}×{SIDE}, multiplied, its maps in full",
    )
    # Nothing but the inverses, in float32: the least that the literal side can keep.
    inverse = CHANNELS**2
    stated = 4 * LEVELS * SIDE**2 * inverse / MB
    part = peak_memory("parts.padim", "literally", PART_SIDE)
    if part < 8 * LEVELS * PART_SIDE**2 * inverse / MB:
        raise AssertionError(f"the literal part took {part} MB, less than its inverses")
    own = peak_memory("parts.padim", "ours", SIDE)
    yield Row(
        "the same, memory",
        "peak beside the features",
        own,
        stated,
        "its inverses alone, in float32, by formula",
        "MB",
        *[stated / own] * 3,
        goal=3,
        note=f"at {PART_SIDE}×{PART_SIDE} positions the literal side, in float64, was measured to "
        f"take {part:.0f} MB, {8 * LEVELS * PART_SIDE**2 * inverse / MB:.0f} of them inverses",
    )
