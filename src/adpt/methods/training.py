"""The loop around trained methods, by Lightning, on features that are read and never computed."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor

from adpt.data.sampling import draw_seed
from adpt.errors import UserError
from adpt.methods.feature_sets import AfterEpoch, DefectSet, FeatureSet, Step, Trainable
from adpt.running.checkpoints import LAST, LastCheckpoint, WholeCheckpoints
from adpt.running.progress import Progress

_SAVES = 20
"""How often in a training its state is kept."""


def run_training(
    method: Trainable,
    features: FeatureSet,
    device: torch.device,
    *,
    defects: DefectSet | None,
    after_epoch: AfterEpoch,
    folder: Path | None,
    progress: Progress,
) -> None:
    """Prepare a method and train it; arguments as of `TrainedMethod.train_on`."""
    with seeded(device, method.seed):
        method.prepare(features, device)
    training = _Training(method, features, defects, after_epoch, progress)
    checkpoint = folder / LAST if folder else None
    callbacks: list[lightning.Callback] = []
    if folder is not None:
        callbacks = [LastCheckpoint(folder, every_n_epochs=max(1, method.epochs // _SAVES))]
    with _quiet():
        trainer = lightning.Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            max_epochs=method.epochs,
            callbacks=callbacks,
            plugins=[WholeCheckpoints()],
            enable_checkpointing=folder is not None,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        resumed = checkpoint if checkpoint and checkpoint.exists() else None
        trainer.fit(training, _Batches(features, method), ckpt_path=resumed, weights_only=True)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)


@contextmanager
def seeded(device: torch.device, *parts: int) -> Iterator[None]:
    """Seed torch's generators by `parts` alone for a while; then they go on as if nothing was."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(draw_seed(*parts))
        yield


class _Batches:
    """Rows of the images of each batch, shuffled anew in every epoch."""

    def __init__(self, features: FeatureSet, method: Trainable) -> None:
        self.count, self.size, self.seed = len(features), method.batch_size, method.seed
        self.number = method.batches_of_epoch(self.count)
        self.epoch = 0
        self.sampler = self  # Where Lightning looks for what to tell the epoch.

    def __len__(self) -> int:
        return self.number

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(draw_seed(self.seed, self.epoch))
        order = torch.randperm(self.count, generator=generator).tolist()
        for start in range(0, self.number * self.size, self.size):
            yield order[start : start + self.size]

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; Lightning calls this."""
        self.epoch = epoch


class _Training(lightning.LightningModule):
    """Hands a method its batches; the method does the rest."""

    def __init__(
        self,
        method: Trainable,
        features: FeatureSet,
        defects: DefectSet | None,
        after_epoch: AfterEpoch,
        progress: Progress,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.method, self.features, self.defects = method, features, defects
        self.after_epoch, self.progress = after_epoch, progress
        self.losses: list[Tensor] = []

    def configure_optimizers(self) -> Any:
        """The method's own."""
        return self.method.configure_optimizers()

    def on_train_epoch_start(self) -> None:
        """Renew the synthetic defects that this epoch shows."""
        self.method.train()
        self.losses = []
        if self.defects is not None:
            self.defects.start_epoch(self.current_epoch)

    def training_step(self, batch: list[int], batch_idx: int) -> None:
        """Read the batch's features and let the method learn from them."""
        step = Step(self.current_epoch, batch_idx, int(self.trainer.num_training_batches))
        levels = [level.to(self.device) for level in self.features.read(batch)]
        defects = None
        if self.defects is not None:
            synthetic, masks = self.defects.read(batch)
            defects = [level.to(self.device) for level in synthetic], masks.to(self.device)
        optimizers: Any = self.optimizers()
        several = optimizers if isinstance(optimizers, list) else [optimizers]
        with seeded(self.device, self.method.seed, step.epoch, step.batch):
            loss = self.method.training_step(levels, several, step, defects)
        if not loss.isfinite():
            raise UserError(
                f"{type(self.method).__name__}'s loss became {loss.item()} in epoch"
                f" {step.epoch + 1}: features must be finite. Check the backbone's precision and"
                " weights, or lower learning_rate."
            )
        self.losses.append(loss.detach())

    def on_train_epoch_end(self) -> None:
        """Move the schedules, then show how far training is."""
        schedules: Any = self.lr_schedulers() or []
        for schedule in schedules if isinstance(schedules, list) else [schedules]:
            schedule.step()
        epochs = self.current_epoch + 1
        self.method.eval()
        with torch.no_grad():
            self.after_epoch(epochs, float(torch.stack(self.losses).mean()))
        self.method.train()
        self.progress("epochs", epochs, self.method.epochs)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning from saying for every training which devices there are, and what torch is."""
    speaker = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = speaker.level
    speaker.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*isinstance.treespec", module="lightning.*")
            yield
    finally:
        speaker.setLevel(level)
