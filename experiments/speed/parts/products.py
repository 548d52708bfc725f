"""A training step against its own matrix products, and these against the machine's ceiling.

What a step takes beyond its products is the code's to win; what these take beyond as many
operations of one large product, the shapes'. CPU seconds, for other processes may be at work.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

import torch
from measuring import Row, threads
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from adpt.methods import CFlow, UniAD
from adpt.methods.feature_sets import Step
from adpt.methods.flow import CouplingBlock
from adpt.methods.trained import TrainedMethod

RUNS = 7
SIDE = 2048
LEAST = 1 / 1.5
"""Of the ceiling that a step has to reach."""
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")
Work = Callable[[], Any]


class Recorded(TorchDispatchMode):
    """Keeps the shapes and strides of both factors of all matrix products, backward ones too."""

    def __init__(self) -> None:
        super().__init__()
        self.factors: list[list[tuple[tuple[int, ...], tuple[int, ...]]]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Look at an operation, and do it."""
        if function._schema.name.rstrip("_") in PRODUCTS:
            tensors = [one for one in args if isinstance(one, Tensor)]
            self.factors.append([(tuple(one.shape), one.stride()) for one in tensors[-2:]])
        return function(*args, **(kwargs or {}))


def step_of(method: TrainedMethod, images: int, shape: tuple[int, int, int], levels: int) -> Work:
    """A training step on features drawn at random, always with the same random numbers."""
    torch.manual_seed(0)
    drawn = [torch.randn(images, *shape) for _ in range(levels)]
    method.remember_shapes([shape] * levels)
    method.build([shape] * levels)
    method.train()
    optimizers, _ = method.configure_optimizers()

    def step() -> None:
        torch.manual_seed(1)
        method.training_step(drawn, optimizers, Step(0, 0, 100), None)

    return step


def products_of(step: Work) -> tuple[Work, float]:
    """A step's matrix products alone, in their shapes and layouts, and their operations."""
    with Recorded() as recorded:
        step()
    drawn: dict[Any, Tensor] = {}
    pairs = []
    operations = 0.0
    for specs in recorded.factors:
        for spec in specs:
            if spec not in drawn:
                drawn[spec] = torch.empty_strided(*spec).normal_()
        one, other = (drawn[spec] for spec in specs)
        pairs.append((one, other))
        operations += 2 * one.numel() * other.shape[-1]

    def products() -> None:
        for one, other in pairs:
            torch.matmul(one, other)

    return products, operations


def rows(channels: int = 384, side: int = 16, runs: int = RUNS) -> Iterator[Row]:
    """CFLOW and UniAD: a step, its products, the ceiling, in turns."""
    square = torch.randn(SIDE, SIDE)
    cases: list[tuple[TrainedMethod, int, str]] = [
        (CFlow(epochs=1, num_levels=1), 16, "a level, 16 images"),
        (UniAD(epochs=1, num_layers=1), 8, "a layer of encoder and decoder, 8 images"),
    ]
    with threads(1):
        yield _against_concatenating(16, (channels, side, side), runs)
        for method, images, what in cases:
            step = step_of(method, images, (channels, side, side), 4)
            products, operations = products_of(step)
            ceiling_share = operations / (2 * SIDE**3)
            timed = []
            for _ in range(runs + 1):
                took = [_cpu(work) for work in (step, products, lambda: square @ square)]
                timed.append([*took[:2], took[2] * ceiling_share])
            whole, alone, ceiling = zip(*timed[1:], strict=True)
            name, other = type(method).__name__, "as many operations at the ceiling"
            work = f"{what} of {channels}×{side}×{side}, one thread, CPU seconds"
            count = f"{operations / 1e9:.0f} GFLOP"
            yield _row(f"{name} step", work, whole, alone, "its matrix products alone")
            yield _row(f"{name} step", work, whole, ceiling, other, count, LEAST)
            yield _row(f"{name} products", work, alone, ceiling, other, count)


def concatenating(
    block: CouplingBlock, kept: Tensor, conditions: Tensor, places: Tensor | None
) -> Tensor:
    """What a block's subnet says, each patch's condition written beside its features."""
    beside = conditions if places is None else conditions[places]
    said: Tensor = 0.1 * block.subnet(torch.cat([kept, beside], 1))
    return said


def _against_concatenating(images: int, shape: tuple[int, int, int], runs: int) -> Row:
    """CFLOW's step beside one whose subnets read every patch's position."""
    ours = step_of(CFlow(epochs=1, num_levels=1), images, shape, 4)
    plain = step_of(CFlow(epochs=1, num_levels=1), images, shape, 4)

    def literal() -> None:
        with patch.object(CouplingBlock, "_raw", concatenating):
            plain()

    timed = []
    for run in range(runs + 1):
        took = {work: _cpu(work) for work in ((ours, literal), (literal, ours))[run % 2]}
        timed.append([took[ours], took[literal]])
    own, theirs = zip(*timed[1:], strict=True)
    work = f"a level, {images} images, one thread, CPU seconds"
    return _row("CFlow step", work, own, theirs, "positions concatenated to patches")


def _cpu(work: Work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _row(
    part: str,
    work: str,
    ours: Sequence[float],
    other: Sequence[float],
    name: str,
    note: str = "",
    goal: float | None = None,
) -> Row:
    ratios = sorted(theirs / own for own, theirs in zip(ours, other, strict=True))
    middle = statistics.median(ratios)
    own, theirs = statistics.median(ours), statistics.median(other)
    return Row(
        part,
        work,
        own,
        theirs,
        name,
        ratio=middle,
        low=ratios[0],
        high=ratios[-1],
        goal=goal,
        note=note,
    )
