"""Methods that learn by gradient descent: what each of them says, and its state."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from adpt.errors import UserError
from adpt.methods.base import Method
from adpt.running.progress import Progress, no_progress

AfterEpoch = Callable[[int, float], None]
"""Called with the epochs trained so far and the last one's mean loss; scoring is possible then."""


def no_check(epochs: int, loss: float) -> None:
    """Look at nothing after an epoch."""


Shape = tuple[int, int, int]
"""(C, h, w) of a level."""


class FeatureSet(Protocol):
    """Features of images, to be read in any order and as often as needed."""

    def __len__(self) -> int:
        """How many images there are."""

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """The levels of some images, each (len(rows), C, h, w) float32 on the CPU."""


class InMemory:
    """A `FeatureSet` of tensors.

    Args:
        levels: One (N, C, h, w) float32 tensor a level, on the CPU.
    """

    def __init__(self, levels: list[Tensor]) -> None:
        self.levels = levels

    def __len__(self) -> int:
        return len(self.levels[0]) if self.levels else 0

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """The levels of some images."""
        return [level[list(rows)] for level in self.levels]


class DefectSet(Protocol):
    """Features of the same images, each with a drawn defect."""

    def start_epoch(self, epoch: int) -> None:
        """Draw and encode anew the share of images that is due in this epoch."""

    def read(self, rows: Sequence[int]) -> tuple[list[Tensor], Tensor]:
        """Levels as of a `FeatureSet`, and (len(rows), H, W) bool masks of the defects."""


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


class TrainedMethod(Method):
    """A method whose modules are made for the levels it is given, and trained on them.

    A subclass has the mathematics: `build`, `configure_optimizers`, `training_step` and `score`.
    The state is saved by `state_dict` and loads into an instance made with the same arguments,
    fitted or not. All randomness of a step is torch's global one, seeded here by seed, epoch and
    batch alone, so that an interrupted training goes on to the same result.

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
        epochs: Times that training goes over all images.
        batch_size: Images in a batch.
        seed: Decides weights, order and all that is drawn in training.

    Raises:
        ValueError: If `epochs` or `batch_size` is not positive.
    """

    unified: ClassVar[bool] = False
    """Whether one model is made for all classes of a set, not one for each."""
    uses_defects: ClassVar[bool] = False
    """Whether training looks at images with drawn defects."""

    def __init__(
        self, image_size: int | Sequence[int], epochs: int, batch_size: int, seed: int
    ) -> None:
        super().__init__(image_size)
        if epochs < 1 or batch_size < 1:
            raise ValueError(
                f"epochs is {epochs} and batch_size {batch_size}: both must be at least 1."
            )
        self.epochs, self.batch_size, self.seed = epochs, batch_size, seed

    # ---- What a subclass says ----------------------------------------------------------------

    @abstractmethod
    def build(self, shapes: Sequence[Shape]) -> None:
        """Make the modules, untrained, for levels of these (C, h, w); replaces former ones."""

    @abstractmethod
    def configure_optimizers(
        self,
    ) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
        """Optimizers, and schedules that are stepped after every epoch."""

    @abstractmethod
    def training_step(
        self,
        levels: list[Tensor],
        optimizers: Sequence[torch.optim.Optimizer],
        step: Step,
        defects: tuple[list[Tensor], Tensor] | None,
    ) -> Tensor:
        """Learn from a batch: gradients and optimizer steps included.

        Args:
            levels: One (B, C, h, w) tensor a level.
            optimizers: Those of `configure_optimizers`.
            step: Where training stands.
            defects: The same images with drawn defects, levels and (B, H, W) bool masks; None
                unless the method uses them and they can be had.

        Returns:
            (), the loss, to be logged.
        """

    # ---- Training ----------------------------------------------------------------------------

    def fit(self, batches: Iterable[list[Tensor]]) -> None:
        """Train on normal features, which are held in memory; see `train_on` for more.

        Args:
            batches: Batches of normal images' levels, each a list of (B, C, h, w); read once.

        Raises:
            UserError: If there is no image.
        """
        gathered = [batch for batch in batches if len(batch[0])]
        device = gathered[0][0].device if gathered else torch.device("cpu")
        levels = [torch.cat(parts).float().cpu() for parts in zip(*gathered, strict=True)]
        self.train_on(InMemory(levels), device)

    def train_on(
        self,
        features: FeatureSet,
        device: torch.device,
        *,
        defects: DefectSet | None = None,
        after_epoch: AfterEpoch = no_check,
        folder: Path | None = None,
        progress: Progress = no_progress,
    ) -> None:
        """Train from the start, or go on where an interrupted training in `folder` stopped.

        Args:
            features: Features of normal images.
            device: Where to compute.
            defects: Features of the same images with drawn defects.
            after_epoch: Called after every epoch.
            folder: Keeps the state of every epoch until training is done; None keeps none.
            progress: Told of every epoch.

        Raises:
            UserError: If there is no image.
        """
        if not len(features):
            raise UserError(
                f"{type(self).__name__} was given no images; it needs at least one normal image. "
                "Check that the training split is not empty."
            )
        from adpt.methods.training import run_training, seeded  # Lightning comes when it is needed.

        shapes = [_shape(level) for level in features.read([0])]
        with seeded(device, self.seed):
            self.remember_shapes(shapes)
            self.build(shapes)
        self.to(device)
        run_training(self, features, defects, device, after_epoch, folder, progress)
        self.to(device).eval().requires_grad_(False)

    # ---- Shapes and state --------------------------------------------------------------------

    def remember_shapes(self, shapes: Sequence[Shape]) -> None:
        """Keep the (C, h, w) of each level with the state."""
        self.register_buffer("level_shapes", torch.tensor(shapes))

    def trained_shapes(self) -> list[Shape]:
        """(C, h, w) of each level that was trained on; empty before training."""
        if "level_shapes" not in self._buffers:
            return []
        return [(c, h, w) for c, h, w in self.get_buffer("level_shapes").tolist()]

    def check_fitted(self, levels: list[Tensor]) -> None:
        """Make sure that these levels can be scored, and move the modules to their device.

        Raises:
            UserError: If nothing was trained yet or the levels are not of the trained shapes.
        """
        name = type(self).__name__
        expected = self.trained_shapes()
        if not expected:
            raise UserError(
                f"{name} has not been trained: call fit with normal features, or load_state_dict"
                " with a trained state, first."
            )
        found = [_shape(level) for level in levels]
        if found != expected:
            raise UserError(
                f"Levels of shapes (C, h, w) {found} were given, but {name} was trained on"
                f" {expected}. Use one backbone, one choice of levels and one image size."
            )
        self.to(levels[0].device)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        saved = state_dict.get(f"{prefix}level_shapes")
        if saved is not None:
            shapes: list[Shape] = [(c, h, w) for c, h, w in saved.tolist()]
            if shapes != self.trained_shapes():
                device = next((p.device for p in self.parameters()), saved.device)
                self.remember_shapes(shapes)
                self.build(shapes)
                self.to(device).eval().requires_grad_(False)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _shape(level: Tensor) -> Shape:
    _, channels, height, width = level.shape
    return channels, height, width
