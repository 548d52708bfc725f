"""Features, defects, steps: the words between trained methods and the loop around them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

AfterEpoch = Callable[[int, float], None]
"""Called with the epochs trained so far and the last one's mean loss; scoring is possible then."""

Defects = tuple[list[Tensor], Tensor]
"""Levels of images with synthetic defects, and (B, H, W) bool masks of the defects."""

OptimizerList = Sequence[torch.optim.Optimizer]

Optimizers = tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]
"""Optimizers, and schedules that are stepped after every epoch."""


def no_check(epochs: int, loss: float) -> None:
    """Look at nothing after an epoch."""


class FeatureSet(Protocol):
    """Features of images, to be read in any order and as often as needed."""

    def __len__(self) -> int:
        """How many images there are."""

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """The levels of some images, each (len(rows), C, h, w) float32 on the CPU."""


class InMemory:
    """A `FeatureSet` of tensors, one (N, C, h, w) float32 a level, on the CPU."""

    def __init__(self, levels: list[Tensor]) -> None:
        self.levels = levels

    def __len__(self) -> int:
        return len(self.levels[0]) if self.levels else 0

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """The levels of some images."""
        return [level[list(rows)] for level in self.levels]


class DefectSet(Protocol):
    """Features of the same images, each with a synthetic defect."""

    def start_epoch(self, epoch: int) -> None:
        """Make and encode anew the share of images that is due in this epoch."""

    def read(self, rows: Sequence[int]) -> Defects:
        """Levels as of a `FeatureSet`, and (len(rows), H, W) bool masks of the defects."""


class Labels:
    """Masks (N, H, W) bool of labelled images, of a normal one blank, in a `DefectSet`'s place."""

    def __init__(self, masks: Tensor) -> None:
        self.masks = masks

    def start_epoch(self, epoch: int) -> None:
        """Renew nothing."""

    def read(self, rows: Sequence[int]) -> Defects:
        """No further levels, and the masks of some images."""
        return [], self.masks[list(rows)]


class Step(NamedTuple):
    """Where training stands.

    Attributes:
        epoch: Counted from 0.
        batch: Which one within the epoch, from 0.
        per_epoch: Batches in an epoch.
    """

    epoch: int
    batch: int
    per_epoch: int


class Trainable(Protocol):
    """All that the loop knows of a method; see `TrainedMethod`."""

    epochs: int
    batch_size: int
    seed: int

    def batches_of_epoch(self, images: int) -> int:
        """Batches that an epoch takes of so many images."""

    def prepare(self, features: FeatureSet, device: torch.device) -> None:
        """Make the modules, on the device."""

    def configure_optimizers(self) -> Optimizers:
        """Optimizers and schedules."""

    def training_step(
        self, levels: list[Tensor], optimizers: OptimizerList, step: Step, defects: Defects | None
    ) -> Tensor:
        """Learn from a batch."""

    def train(self, mode: bool = True) -> Any:
        """Be as training wants it."""

    def eval(self) -> Any:
        """Be as scoring wants it."""
