"""The projectors of the best checks on a test set, as the authors of ADPretrain chose theirs."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning

from adpt.data import AnomalyDataModule
from adpt.data.reference_lists import ReferenceLists
from adpt.errors import UserError
from adpt.methods import Method
from adpt.pretraining.callbacks import DownstreamCheck, SaveProjector
from adpt.pretraining.module import Pretraining
from adpt.running.whole_files import replacing
from adpt.weights import save_projector
from adpt.weights.hub import VARIANTS

METRIC = "pixel_aupro_paper"
"""The authors evaluate with the projectors that were best by it."""


class BestEpoch(DownstreamCheck):
    """After every epoch, keep a projector if a method does better with it than with all before.

    There is one for each variant, `projector_angle.safetensors` and `projector_norm.safetensors`,
    as the authors have them: by the mean AUPRO over the set's classes of PatchCore and of
    FeatureNorm. They are chosen on test images, and their results say `protocol=paper`.

    Args:
        data: The set that is chosen on.
        methods: Variant to what makes its method.
        folder: Where the files go.
        every_n_epochs: How often.
        shots: References a class; a training image among them matches itself.
        seed: Chooses the references.
        reference_lists: Name the references in place of the seed; see `ReferenceLists`.
        reference_resize: `resize` at which references are read; None for that of the images.
        keep_gb: As of `DownstreamCheck`.

    Raises:
        UserError: A method refuses its options, or a variant is no such one.
    """

    option = "best_epoch"

    def __init__(
        self,
        data: AnomalyDataModule,
        methods: Mapping[str, Callable[[], Method]],
        folder: str | Path,
        *,
        every_n_epochs: int = 1,
        shots: int = 8,
        seed: int = 0,
        reference_lists: Sequence[str] = (),
        reference_resize: int | None = None,
        keep_gb: float = 4.0,
    ) -> None:
        super().__init__(
            data,
            methods,
            every_n_epochs=every_n_epochs,
            shots=shots,
            seed=seed,
            panels=0,
            folder=folder,
            keep_gb=keep_gb,
        )
        if unknown := set(methods) - set(VARIANTS):
            raise UserError(
                f"callbacks.best_epoch.methods: {', '.join(sorted(unknown))} is no variant; there"
                f" are {', '.join(VARIANTS)}."
            )
        lists = ReferenceLists(reference_lists, data.set_name) if reference_lists else None
        self.reference_options = {
            "self_match": True,
            "reference_resize": reference_resize,
            "lists": lists,
        }
        self.best: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """The best figure of each variant so far."""
        return dict(self.best)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.best = dict(state)

    def path(self, variant: str) -> Path:
        """The file of a variant."""
        return self.folder / f"projector_{variant}.safetensors"

    def on_fit_start(self, trainer: lightning.Trainer, module: Pretraining) -> None:  # type: ignore[override]
        """Find the set's faults before training, and the files of the run that is gone on with.

        Raises:
            UserError: One of them is gone.
        """
        self._choose(trainer)
        for path in map(self.path, self.best):
            if not trainer.is_global_zero or path.exists():
                continue
            former = Path(str(trainer.ckpt_path)).parent.parent / path.name
            if not former.is_file():
                raise UserError(
                    f"The run that is gone on with has chosen a projector, but there is neither"
                    f" {path} nor {former}: bring it back, or start anew with ckpt_path=null."
                )
            with replacing(path) as temporary:
                shutil.copyfile(former, temporary)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Pretraining) -> None:  # type: ignore[override]
        """Check the projector as it is now, and keep it where it is the best."""
        if (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        figures = self._check(trainer, module, "pretrained")
        for variant in self.methods:
            value = figures.get(f"{self._where}/{variant}/{METRIC}/pretrained", 0.0)
            if value > self.best.get(variant, 0.0):
                self.best[variant] = value
                if trainer.is_global_zero:
                    self._save(trainer, module, variant)

    def _save(self, trainer: lightning.Trainer, module: Pretraining, variant: str) -> None:
        epoch = trainer.current_epoch + 1
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        saving = next(one for one in callbacks if isinstance(one, SaveProjector))
        metadata = saving.metadata(trainer, module, epoch) | {
            "protocol": "paper",
            "selection": f"the epoch of the best mean AUPRO ({self.best[variant]:.4f}) of variant"
            f" {variant}'s method, by results on the test set of {self._set.set_name}",
        }
        save_projector(module.projector, self.path(variant), metadata)

    def _render(self, *_: Any) -> list[Path]:
        return []
