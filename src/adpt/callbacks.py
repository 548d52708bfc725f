"""What happens beside training: projector files, throughput, downstream checks, W&B."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import lightning
import numpy as np
import torch
from lightning.pytorch.loggers import Logger, WandbLogger
from omegaconf import DictConfig, OmegaConf

from adpt.data import AnomalyDataModule, Batch
from adpt.data.sample import image_folders
from adpt.details import Details, details_of
from adpt.downstream import ClassData, Kind, Outcome, encode_class, run_methods
from adpt.errors import UserError
from adpt.methods import Method
from adpt.panels import choose_images, class_folder, draw_panels
from adpt.pretraining import Pretraining
from adpt.weights import save_backbone, save_projector

log = logging.getLogger(__name__)


class SaveProjector(lightning.Callback):
    """Write the projector alone, as safetensors, after every epoch.

    Its metadata hold the backbone, its levels, the epoch and the composed config. The weights of a
    backbone that is trained too are written beside it, as backbone.safetensors.

    Args:
        path: The file, replaced whole every time.
        config: The composed config.
    """

    def __init__(self, path: str | Path, config: DictConfig) -> None:
        self.path = Path(path)
        self.config = json.dumps(OmegaConf.to_container(config, resolve=True), default=str)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Pretraining) -> None:  # type: ignore[override]
        """Write the file, in the first process only."""
        self._save(trainer, module, trainer.current_epoch + 1)

    def on_fit_end(self, trainer: lightning.Trainer, module: Pretraining) -> None:  # type: ignore[override]
        """Write the file of a resumed run that had nothing left to train."""
        if not self.path.exists():
            self._save(trainer, module, trainer.current_epoch)

    def _save(self, trainer: lightning.Trainer, module: Pretraining, epoch: int) -> None:
        if trainer.is_global_zero:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            backbone = module.backbone
            metadata = {
                "backbone": backbone.name,
                "backbone_sha256": backbone.fingerprint,
                "levels": json.dumps(backbone.indices),
                "epoch": str(epoch),
                "images": json.dumps(image_folders(data.pretraining_samples())),
                "config": self.config,
            }
            if not backbone.frozen:
                save_backbone(backbone.weights, self.path.with_name("backbone.safetensors"))
            save_projector(module.projector, self.path, metadata)


class ImagesPerSecond(lightning.Callback):
    """Log how many images all processes together train on in a second."""

    def on_train_epoch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Start the clock."""
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
    """Run methods on a set that pretraining has not seen, every few epochs, and log the metrics.

    Nothing is chosen by these figures; they are there to be looked at. The backbone's own features
    are checked once, before training, as what to compare with.

    Args:
        data: The set.
        methods: Name to what makes a method.
        every_n_epochs: How often.
        shots: References a class.
        seed: Chooses the references.
        panels: Test images a class whose score maps are logged as pictures, always the same.
        folder: Where the pictures go.
        keep_gb: Encoded classes are kept between checks up to this size in memory; classes
            beyond it are encoded anew at every check.
    """

    def __init__(
        self,
        data: AnomalyDataModule,
        methods: Mapping[str, Callable[[], Method]],
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
        self._kept: dict[str, ClassData] = {}
        self._own: dict[str, dict[str, Details]] = {}

    def on_fit_start(self, trainer: lightning.Trainer, module: Pretraining) -> None:  # type: ignore[override]
        """Find the set's faults before training, and check the backbone's own features."""
        self.data.prepare_data()
        self.data.setup()
        self._check(trainer, module, "own")

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Pretraining) -> None:  # type: ignore[override]
        """Check the projector as it is now."""
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._check(trainer, module, "pretrained")

    def _check(self, trainer: lightning.Trainer, module: Pretraining, kind: Any) -> None:
        # Classes are dealt out to the processes; every process then learns all results.
        figures: dict[str, float] = {}
        pictures: list[Path] = []
        device, precision = module.device, trainer.precision_plugin
        for class_name in self.data.classes[trainer.global_rank :: trainer.world_size]:
            with precision.forward_context():
                encoded = self._encode(class_name, module, device)
            outcomes = run_methods(
                encoded, self.methods, [kind], module.projector, self.data.batch_size, device
            )
            for outcome in outcomes:
                for metric, value in outcome.metrics.items():
                    figures[f"check_{kind}/{outcome.method}/{metric}/{class_name}"] = value
            if kind == "own":
                self._own[class_name] = {o.method: _details(encoded, o) for o in outcomes}
            else:
                pictures += self._draw(encoded, outcomes, trainer.current_epoch)
        if trainer.world_size > 1:
            parts: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, (figures, pictures))
            figures = {name: value for part in parts for name, value in part[0].items()}
            pictures = [path for part in parts for path in part[1]]
        self._log(trainer, figures | means(figures), pictures)

    def _encode(self, class_name: str, module: Pretraining, device: torch.device) -> ClassData:
        if class_name in self._kept:
            return self._kept[class_name]
        encoded = encode_class(
            self.data, class_name, module.backbone, self.shots, self.seed, device
        )
        used = sum(kept.num_bytes for kept in self._kept.values())
        # What a backbone that learns made is out of date after the next step.
        if module.backbone.frozen and used + encoded.num_bytes <= self.keep_gb * 1e9:
            self._kept[class_name] = encoded
        return encoded

    def _draw(self, encoded: ClassData, outcomes: Sequence[Outcome], epoch: int) -> list[Path]:
        folder = self.folder / f"epoch_{epoch + 1:02d}" / class_folder(encoded.name)
        # Never the worst and best cases: the same images show what changes from epoch to epoch.
        chosen = dict.fromkeys(choose_images(encoded.test.labels, self.panels), "")
        paths = []
        for outcome in outcomes:
            own = self._own[encoded.name][outcome.method]
            details: dict[Kind, Details] = {"own": own, "pretrained": _details(encoded, outcome)}
            paths += draw_panels(folder / outcome.method, self.data, details, chosen)
        return paths

    def _log(
        self, trainer: lightning.Trainer, figures: dict[str, float], pictures: list[Path]
    ) -> None:
        if not trainer.is_global_zero:
            return
        for name, value in figures.items():
            if name.endswith("/mean"):
                log.info("%s %.4f", name, value)
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=trainer.global_step)
            if isinstance(logger, WandbLogger) and pictures:
                names = [str(path.relative_to(path.parents[2])) for path in pictures]
                logger.log_image(
                    "heatmaps", [str(path) for path in pictures], trainer.global_step, caption=names
                )


def _details(encoded: ClassData, outcome: Outcome) -> Details:
    test = encoded.test
    return details_of(test.paths, test.labels, test.masks, outcome.image_scores, outcome.maps)


def means(figures: Mapping[str, float]) -> dict[str, float]:
    """Mean over classes of `<check>/<method>/<metric>/<class>`; undefined ones are left out."""
    by_metric: dict[str, list[float]] = {}
    for name, value in figures.items():
        # A class of several sets has a slash of its own.
        by_metric.setdefault("/".join(name.split("/")[:3]), []).append(value)
    return {
        f"{name}/mean": float(np.nanmean(values))
        for name, values in by_metric.items()
        if not np.isnan(values).all()
    }


def require_checkpoint(path: str | None) -> str | None:
    """The checkpoint to go on from, if any.

    Raises:
        UserError: There is no such file, or it is no checkpoint.
    """
    if path is not None and not Path(path).is_file():
        raise UserError(
            f"ckpt_path={path}: there is no such file. A run leaves its checkpoints in"
            " <output_dir>/checkpoints; last.ckpt is the newest."
        )
    if path is not None:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            whole = "state_dict" in content and "loops" in content
        except Exception as error:
            raise UserError(f"ckpt_path={path} is damaged or no checkpoint: {error}") from error
        if not whole:
            raise UserError(
                f"ckpt_path={path} is no checkpoint of a run: give"
                " <output_dir>/checkpoints/last.ckpt."
            )
    return path


@contextmanager
def finishing(loggers: Sequence[Logger]) -> Iterator[None]:
    """End every logger's run, so that the next job of a multirun starts its own."""
    try:
        yield
    except BaseException:
        _finish(loggers, "failed")
        raise
    _finish(loggers, "success")


def _finish(loggers: Sequence[Logger], status: str) -> None:
    for logger in loggers:
        logger.finalize(status)
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(exit_code=int(status != "success"))


def log_config(loggers: Sequence[Logger], config: DictConfig) -> None:
    """Hand the composed config to every logger."""
    resolved = OmegaConf.to_container(config, resolve=True)
    for logger in loggers:
        logger.log_hyperparams(resolved)  # type: ignore[arg-type]


def has_wandb_account() -> bool:
    """Whether a key for W&B is at hand, in the environment or where `wandb login` puts it.

    W&B itself is not asked: that would start it before it is told to stay offline.
    """
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    home = Path.home()
    files = [os.environ.get("NETRC"), home / ".netrc", home / "_netrc"]
    for file in files:
        if file and Path(file).is_file():
            try:
                return netrc(file).authenticators(host or "") is not None
            except (NetrcParseError, OSError):
                return False
    return False


def wandb_logger(
    project: str,
    name: str,
    save_dir: str,
    mode: str = "online",
    entity: str | None = None,
    tags: Sequence[str] = (),
) -> WandbLogger:
    """A W&B logger; the jobs of a multirun share a group, and no account means offline.

    Args:
        project: W&B project.
        name: Name of the run.
        save_dir: Where the run's files go.
        mode: "online" or "offline".
        entity: W&B user or team; None for the account's own.
        tags: Tags of the run.

    Raises:
        UserError: `mode` is something else.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if mode not in ("online", "offline"):
        raise UserError(
            f"logger.wandb.mode is online or offline, not {mode!r}; logger=csv for none."
        )
    if mode == "online" and not has_wandb_account():
        log.warning(
            "No W&B account is set up (`wandb login`): the run is logged offline; send it later"
            " with `wandb sync %s/wandb/offline-run-*`",
            save_dir,
        )
        mode = "offline"
    group = None
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        group = Path(HydraConfig.get().sweep.dir).name
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    return WandbLogger(
        project=project,
        name=name,
        save_dir=save_dir,
        offline=mode == "offline",
        entity=entity,
        tags=list(tags),
        group=group,
    )
