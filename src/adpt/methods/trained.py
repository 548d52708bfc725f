"""Methods that learn by gradient descent: what each of them says, and its state."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from adpt.methods.base import at_least_one
from adpt.methods.feature_sets import (
    AfterEpoch,
    Defects,
    DefectSet,
    FeatureSet,
    InMemory,
    OptimizerList,
    Optimizers,
    Step,
    no_check,
)
from adpt.methods.learned import LearnedMethod, Shape, shapes_of
from adpt.running.progress import Progress, no_progress

_SMALL = 2**26
"""Bytes that modules may take whatever their state says."""


class TrainedMethod(LearnedMethod):
    """A method whose modules are made for the levels it is given, and trained on them.

    A subclass has the mathematics: `build`, `configure_optimizers`, `training_step` and `score`.
    The state is saved by `state_dict` and loads into an instance made with the same arguments,
    fitted or not. All randomness of a step is torch's global one, seeded by the loop with seed,
    epoch and batch alone, so that an interrupted training goes on to the same result.

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
        epochs: Times that training goes over all images.
        batch_size: Images in a batch.
        seed: Decides weights, order and all that is drawn in training.
        drop_last: True leaves an epoch's last batch out where it is not full, unless it is the
            only one.

    Raises:
        ValueError: If `epochs` or `batch_size` is not positive.
    """

    unified: ClassVar[bool] = False
    """True for one model of all classes of a set, not one for each."""
    uses_defects: ClassVar[bool] = False
    """True where training looks at images with synthetic defects."""
    by_window = False

    def __init__(
        self,
        image_size: int | Sequence[int],
        epochs: int,
        batch_size: int,
        seed: int,
        drop_last: bool = False,
    ) -> None:
        super().__init__(image_size)
        at_least_one(epochs=epochs, batch_size=batch_size)
        self.epochs, self.batch_size, self.seed = epochs, batch_size, seed
        self.drop_last = drop_last

    def batches_of_epoch(self, images: int) -> int:
        """Batches that an epoch takes of so many images."""
        whole, rest = divmod(images, self.batch_size)
        return whole if whole and self.drop_last else whole + (rest > 0)

    # ---- What a subclass says ----------------------------------------------------------------

    @abstractmethod
    def build(self, shapes: Sequence[Shape]) -> None:
        """Make the modules, untrained, for levels of these (C, h, w); replaces former ones."""

    @abstractmethod
    def configure_optimizers(self) -> Optimizers:
        """Optimizers, and schedules that are stepped after every epoch."""

    @abstractmethod
    def training_step(
        self, levels: list[Tensor], optimizers: OptimizerList, step: Step, defects: Defects | None
    ) -> Tensor:
        """Learn from a batch: gradients and optimizer steps included.

        Args:
            levels: One (B, C, h, w) float32 tensor a level, on the device that computes.
            optimizers: Those of `configure_optimizers`.
            step: Where training stands.
            defects: The same images with synthetic defects, on the same device, or of labelled
                images no levels and their masks; None unless the method uses them and they can
                be had.

        Returns:
            (), the loss, to be logged; training ends with an error where it is not finite.
        """

    # ---- Training ----------------------------------------------------------------------------

    def fit(self, batches: Iterable[list[Tensor]]) -> None:
        """Train on normal features, which are held in memory; see `train_on` for more."""
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
            features: Features of normal images, of both kinds where it `uses_labels`.
            device: Where to compute.
            defects: Features of the images with synthetic defects; of labelled images `Labels`.
            after_epoch: Called after every epoch.
            folder: Keeps the state of every epoch until training is done; None keeps none.
            progress: Told of every epoch.

        Raises:
            UserError: If there is no image, or the loss is not finite.
        """
        if not len(features):
            raise self.no_images()
        from adpt.methods.training import run_training  # Lightning comes when it is needed.

        run_training(
            self,
            features,
            device,
            defects=defects,
            after_epoch=after_epoch,
            folder=folder,
            progress=progress,
        )
        self.to(device).eval().requires_grad_(False)

    def prepare(self, features: FeatureSet, device: torch.device) -> None:
        """Make the modules for the features that training is going to see, on the device."""
        self._build(shapes_of(features.read([0])))
        self.to(device)

    def _build(self, shapes: list[Shape]) -> None:
        self.remember_shapes(shapes)
        self.build(shapes)

    def _check_size(self, shapes: list[Shape], given: int) -> None:
        """Refuse a state whose modules would take far more memory than it does, with a ValueError.

        The state, or the options that came with it, may be anybody's.
        """
        with torch.device("meta"):  # Takes none.
            self._build(shapes)
        needed = _bytes_of([*self.parameters(), *self.buffers()])
        if needed > 2 * given + _SMALL:
            raise ValueError(
                f"{type(self).__name__} for levels of shapes {shapes} takes {needed:,} bytes, and"
                f" the state that says so has {given:,}."
            )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        saved = state_dict.get(f"{prefix}level_shapes")
        if saved is not None:
            shapes: list[Shape] = [(c, h, w) for c, h, w in saved.tolist()]
            if shapes != self.learned_shapes():
                device = next((p.device for p in self.parameters()), saved.device)
                given = [value for name, value in state_dict.items() if name.startswith(prefix)]
                self._check_size(shapes, _bytes_of(given))
                self._build(shapes)
                self.to(device).eval().requires_grad_(False)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def descend(
    loss: Tensor, *optimizers: torch.optim.Optimizer, clip_norm: float | None = None
) -> Tensor:
    """Take a step down a loss.

    Args:
        loss: ().
        optimizers: Of all parameters that have a part in it.
        clip_norm: Norm that all their gradients together have at most; None for any.

    Returns:
        The loss, without its graph.
    """
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    if clip_norm is not None:
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        nn.utils.clip_grad_norm_([one for group in groups for one in group["params"]], clip_norm)
    for optimizer in optimizers:
        optimizer.step()
    return loss.detach()


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
