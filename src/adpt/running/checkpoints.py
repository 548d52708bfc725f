"""Checkpoints: when they are written, that they are written whole, and where to go on from."""

import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from adpt.errors import UserError, WeightsError
from adpt.running.interruption import Notice
from adpt.running.unpickling import load_tensors
from adpt.running.whole_files import replacing

LAST = "last.ckpt"


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints whole or not at all; Lightning's own way copies across file systems."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            UserError: It could not be written, for instance because the disk is full; a file that
                was there before is as it was.
        """
        with replacing(Path(path)) as temporary, temporary.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:
                # What the disk said lies behind torch's own complaint.
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise


class LastCheckpoint(Checkpoint):
    """Keeps `last.ckpt`, from which an interrupted training goes on to the same result.

    It is written at the end of epochs, within long ones, and when a signal asks to stop; then
    training stops. A module says by `resumes_within_epochs` whether it can go on from within an
    epoch; others come to the epoch's end before they stop.

    Args:
        folder: Where the file lies.
        every_n_epochs: How often it is written at an epoch's end; always at the last one's.
        minutes: How often it is written within an epoch.
    """

    def __init__(self, folder: str | Path, every_n_epochs: int = 1, minutes: float = 15.0) -> None:
        self.path = Path(folder) / LAST
        self.every_n_epochs, self.minutes = every_n_epochs, minutes
        self._notice = Notice()
        self._stop = False

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Take signals down from here on: Lightning would act on them in the middle of a step."""
        self._notice, self._stop = Notice(), False
        self._notice.listen()
        self._saved = time.monotonic()

    def on_train_batch_start(self, *_: Any) -> None:
        """Stop where the last step has saved for it; what that step logged is written by now."""
        if self._stop:
            self._notice.stop()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save where it is time to, between two steps."""
        between_steps = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        last = batch_idx + 1 >= trainer.num_training_batches
        if last or not between_steps or not getattr(module, "resumes_within_epochs", False):
            return
        due = time.monotonic() - self._saved > 60 * self.minutes
        if self._any_process(trainer, due or self._notice.signum is not None):
            self._save(trainer)
            self._stop = self._any_process(trainer, self._notice.signum is not None)

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Save the epoch, and stop if a signal has asked for it."""
        epochs = trainer.current_epoch + 1
        stop = self._any_process(trainer, self._notice.signum is not None)
        if stop or epochs % self.every_n_epochs == 0 or epochs == trainer.max_epochs:
            self._save(trainer)
        if stop and epochs != trainer.max_epochs:
            self._notice.stop()

    def on_train_end(self, *_: Any) -> None:
        """Leave signals alone again."""
        self._notice.close()

    def on_exception(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, error: BaseException
    ) -> None:
        """Leave signals alone again."""
        self._notice.close()

    def _any_process(self, trainer: lightning.Trainer, decision: bool) -> bool:
        # All of them save and stop after the same step.
        return bool(trainer.strategy.reduce_boolean_decision(decision, all=False))

    def _save(self, trainer: lightning.Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()  # What led to the checkpoint must not be lost with the process.
        trainer.save_checkpoint(self.path)
        self._saved = time.monotonic()


def find_checkpoint(wanted: str | None, folder: str | Path) -> Path | None:
    """The checkpoint to go on from, if any.

    Args:
        wanted: A file; or "last" for the newest one in `folder`, or none if there is none yet; or
            None.
        folder: Where the run keeps its checkpoints.

    Raises:
        UserError: There is no such file, or it is no checkpoint of a run.
    """
    if wanted is None:
        return None
    path = Path(folder) / LAST if wanted == "last" else Path(wanted)
    if wanted == "last" and not path.exists():
        return None
    if not path.is_file():
        raise UserError(
            f"ckpt_path={path}: there is no such file. A run leaves its checkpoints in"
            f" <output_dir>/checkpoints; {LAST} is the newest."
        )
    try:
        content = load_tensors(path)
    except WeightsError as error:
        raise UserError(f"ckpt_path is no checkpoint: {error}") from error
    if not isinstance(content, dict) or not {"state_dict", "loops"} <= content.keys():
        raise UserError(
            f"ckpt_path={path} is no checkpoint of a run: give <output_dir>/checkpoints/{LAST}."
        )
    return path


def steps_of(checkpoint: Path) -> int:
    """Number of steps that a checkpoint's run had taken."""
    return int(load_tensors(checkpoint)["global_step"])
