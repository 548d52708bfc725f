"""Callbacks of pretraining: projector files, throughput, checks on other classes."""

import copy
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf

from adpt.cli.values import differing, leaves
from adpt.data import AnomalyDataModule, Batch
from adpt.data.sample import image_folders
from adpt.errors import DataError, UserError
from adpt.evaluation import ClassData, Kind, Outcome, encode_class, run_methods
from adpt.evaluation.panels import choose_images, class_folder, render_panels
from adpt.methods import Method, try_making
from adpt.pretraining import Pretraining
from adpt.results.details import Details
from adpt.running.whole_files import mark_output
from adpt.tracking import log_check, name_figures, summarise_by_mean
from adpt.weights import ProjectorFile, save_backbone, save_projector

log = logging.getLogger(__name__)


class SaveProjector(lightning.Callback):
    """Write the projector alone, as safetensors, after every epoch.

    Its metadata hold the backbone, its levels, the epoch and the composed config, in which paths
    into the run's folder are relative to it and `ckpt_path` is null. The weights of a backbone that
    is trained too are written beside it, as backbone.safetensors.

    Args:
        path: The file, replaced whole every time.
        config: The composed config.
        start: The file whose weights training set out with: the images that it saw count as seen,
            and a choice made on test data stays one.
    """

    def __init__(
        self, path: str | Path, config: DictConfig, start: ProjectorFile | None = None
    ) -> None:
        self.path, self.start = Path(path), start
        self.config = _as_json(config)

    def on_save_checkpoint(self, _: Any, __: Any, checkpoint: dict[str, Any]) -> None:
        """Keep the config, which a resumed run compares with its own."""
        checkpoint["config"] = self.config

    def on_load_checkpoint(self, _: Any, __: Any, checkpoint: dict[str, Any]) -> None:
        """Say what was configured otherwise before."""
        texts = (checkpoint.get("config", self.config), self.config)
        before, now = (dict(leaves(json.loads(text))) for text in texts)
        if told := differing(before, now):
            log.warning(
                "Going on from a checkpoint of other options: %s. What was trained so far was"
                " trained with the former ones; ckpt_path=null starts anew",
                "; ".join(told),
            )

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Pretraining) -> None:  # type: ignore[override]
        """Write the file, in the first process only."""
        self._save(trainer, module, trainer.current_epoch + 1)

    def on_fit_end(self, trainer: lightning.Trainer, module: Pretraining) -> None:  # type: ignore[override]
        """Write the file of a resumed run that had nothing left to train."""
        if not self.path.exists():
            self._save(trainer, module, trainer.current_epoch)

    def _save(self, trainer: lightning.Trainer, module: Pretraining, epoch: int) -> None:
        if trainer.is_global_zero:
            if not module.backbone.frozen:
                weights = module.backbone.weights
                save_backbone(weights, self.path.with_name("backbone.safetensors"))
            save_projector(module.projector, self.path, self.metadata(trainer, module, epoch))

    def metadata(
        self, trainer: lightning.Trainer, module: Pretraining, epoch: int
    ) -> dict[str, str]:
        """A projector file's account of itself after so many epochs."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        backbone = module.backbone
        seen = set(image_folders(data.pretraining_samples()))
        metadata = {
            "backbone": backbone.name,
            "backbone_sha256": backbone.fingerprint,
            "levels": json.dumps(backbone.indices),
            "epoch": str(epoch),
            "config": self.config,
        }
        if self.start is not None:
            seen |= set(json.loads(self.start.metadata.get("images", "[]")))
            metadata |= inherited(self.start)
        return metadata | {"images": json.dumps(sorted(seen))}


def _as_json(config: DictConfig) -> str:
    """The resolved config as JSON; equal runs in different folders, resumed or not, have one."""
    config = copy.deepcopy(config)
    for name, value in (("output_dir", "."), ("ckpt_path", None)):
        if name in config:
            config[name] = value
    return json.dumps(OmegaConf.to_container(config, resolve=True), default=str)


def inherited(start: ProjectorFile) -> dict[str, str]:
    """A projector's metadata about the file that its training set out with.

    `started_from` lists that file and those before it, the oldest first.
    """
    name = start.name if start.source else start.path.name
    told = {"name": name, "sha256": start.sha256, **start.source}
    before = json.loads(start.metadata.get("started_from", "[]"))
    metadata = {
        "started_from": json.dumps([*before, told]),
        "protocol": start.protocol,
        "sets": json.dumps(start.sets),
    }
    if "selection" in start.metadata:
        metadata["selection"] = start.metadata["selection"]
    return metadata


class ImagesPerSecond(lightning.Callback):
    """Log how many images all processes together train on in a second."""

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Start the clock, also of an epoch that is gone on with."""
        summarise_by_mean(trainer.loggers, "data/images_per_second")
        self.on_train_epoch_start()

    def on_train_epoch_start(self, *_: Any) -> None:
        """Start the clock anew."""
        self.started, self.images = time.perf_counter(), 0

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count, and log every `log_every_n_steps`."""
        self.images += len(batch) * trainer.world_size
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            now = time.perf_counter()
            module.log("data/images_per_second", self.images / (now - self.started))
            self.started, self.images = now, 0


class DownstreamCheck(lightning.Callback):
    """Run methods on classes that pretraining does not see, every few epochs, and log the metrics.

    The figures of another set are there to be looked at, and nothing is chosen by them; by those of
    held-out classes, named `held_out/...`, a projector may be chosen. The backbone's own features
    are checked once, before training, as what to compare with.

    Args:
        data: The set; None for the classes of `data.held_out` of the set that is trained on.
        methods: Name to what makes a method.
        every_n_epochs: How often.
        shots: References a class.
        seed: Chooses the references.
        panels: Test images a class whose score maps are logged as pictures, always the same.
        folder: Where the pictures go.
        keep_gb: Encoded classes are kept between checks up to this size in memory; classes
            beyond it are encoded anew at every check.

    Raises:
        UserError: A method refuses its options.
    """

    option = "downstream_check"
    """Its name on the command line."""
    reference_options: Mapping[str, Any] = MappingProxyType({})
    """The choice of references beside number and seed, as arguments of `encode_class`."""

    def __init__(
        self,
        data: AnomalyDataModule | None,
        methods: Mapping[str, Callable[[], Method]],
        *,
        every_n_epochs: int = 1,
        shots: int = 8,
        seed: int = 0,
        panels: int = 4,
        folder: str | Path = "heatmaps",
        keep_gb: float = 4.0,
    ) -> None:
        self.data, self.methods, self.every_n_epochs = data, dict(methods), every_n_epochs
        self.shots, self.seed = shots, seed
        self.panels, self.folder, self.keep_gb = panels, Path(folder), keep_gb
        made = [try_making(f"methods.{n} of a check", make) for n, make in self.methods.items()]
        self.class_token = any(method.uses_class_token for method in made)
        self._kept: dict[str, ClassData] = {}
        self._own: dict[str, dict[str, Details]] = {}
        self._own_figures: dict[str, float] = {}

    def on_fit_start(self, trainer: lightning.Trainer, module: Pretraining) -> None:  # type: ignore[override]
        """Find the set's faults before training, and check the backbone's own features.

        Raises:
            UserError: Held-out classes are to be checked, and there are none.
        """
        self._choose(trainer)
        self._own_figures = self._check(trainer, module, "own")

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Pretraining) -> None:  # type: ignore[override]
        """Check the projector as it is now."""
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            figures = self._check(trainer, module, "pretrained")
            # For a sweeper, from the trainer; to the loggers they go with those of the classes.
            module.log_dict(self._means(figures), logger=False, sync_dist=trainer.world_size > 1)

    def _choose(self, trainer: lightning.Trainer) -> None:
        if self.data is not None:
            try:
                self.data.prepare_data()
                self.data.setup()
            except DataError as error:
                raise DataError(
                    f"{error}\nThis is the set that is checked on: its options are those of"
                    f" callbacks.{self.option}.data, such as callbacks.{self.option}.data.root."
                ) from None
            self._set, self._classes = self.data, self.data.classes
            self._where = f"check/{self.data.set_name}"
            return
        self._set = trainer.datamodule  # type: ignore[attr-defined]
        self._classes, self._where = list(self._set.held_out), "held_out"
        if not self._classes:
            raise UserError(
                "callbacks=held_out_check has no classes: name some of the set's, such as"
                " data.held_out=[zipper]. Pretraining leaves them out."
            )

    def _check(
        self, trainer: lightning.Trainer, module: Pretraining, kind: Any
    ) -> dict[str, float]:
        """Check all classes; names of figures, as `name_figures` gives them, to values."""
        # Classes are dealt out to the processes; every process then learns all results.
        measured: dict[tuple[str, str, str], float] = {}
        pictures: list[Path] = []
        device, precision = module.device, trainer.precision_plugin
        for class_name in self._classes[trainer.global_rank :: trainer.world_size]:
            with precision.forward_context():
                encoded = self._encode(class_name, module, device)
            outcomes = run_methods(
                encoded,
                self.methods,
                [kind],
                projector=module.projector,
                batch_size=self._set.batch_size,
                device=device,
            )
            for outcome in outcomes:
                for metric, value in outcome.metrics.items():
                    measured[class_name, outcome.method, metric] = value
            if kind == "own":
                self._own[class_name] = {o.method: o.details for o in outcomes}
            else:
                pictures += self._render(encoded, outcomes, trainer.current_epoch)
        if trainer.world_size > 1:
            parts: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, (measured, pictures))
            measured = {name: value for part in parts for name, value in part[0].items()}
            pictures = [path for part in parts for path in part[1]]
        figures = name_figures(self._where, kind, measured)
        if trainer.is_global_zero:
            for name, value in self._means(figures).items():
                log.info("%s %.4f", name, value)
            epoch = 0 if kind == "own" else trainer.current_epoch + 1
            # Own figures every time, as a level line beneath those that change.
            self._log(trainer, self._own_figures | figures, pictures, epoch)
        return figures

    def _means(self, figures: Mapping[str, float]) -> dict[str, float]:
        start = f"{self._where}/"
        return {name: value for name, value in figures.items() if name.startswith(start)}

    def _encode(self, class_name: str, module: Pretraining, device: torch.device) -> ClassData:
        if class_name in self._kept:
            return self._kept[class_name]
        encoded = encode_class(
            self._set,
            class_name,
            module.backbone,
            shots=self.shots,
            seed=self.seed,
            device=device,
            **self.reference_options,
            class_token=self.class_token,
        )
        used = sum(kept.num_bytes for kept in self._kept.values())
        # What a backbone that learns made is out of date after the next step.
        if module.backbone.frozen and used + encoded.num_bytes <= self.keep_gb * 1e9:
            self._kept[class_name] = encoded
        return encoded

    def _render(self, encoded: ClassData, outcomes: Sequence[Outcome], epoch: int) -> list[Path]:
        folder = self.folder / f"epoch_{epoch + 1:02d}" / class_folder(encoded.name)
        # Never the worst and best cases: the same images show what changes from epoch to epoch.
        chosen = dict.fromkeys(choose_images(encoded.test.labels, self.panels), "")
        paths = []
        for outcome in outcomes:
            own = self._own[encoded.name][outcome.method]
            details: dict[Kind, Details] = {"own": own, "pretrained": outcome.details}
            mark_output(folder / outcome.method)
            paths += render_panels(folder / outcome.method, self._set, details, chosen)
        return paths

    def _log(
        self,
        trainer: lightning.Trainer,
        figures: dict[str, float],
        pictures: Sequence[Path],
        epoch: int,
    ) -> None:
        named: dict[str, list[Path]] = {}
        for path in pictures:
            class_name, method = path.parts[-3:-1]
            named.setdefault(f"heatmaps/{self._where}/{class_name}/{method}", []).append(path)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                log_check(logger, figures, named, epoch, trainer.global_step)
            else:
                logger.log_metrics(figures, step=trainer.global_step)
