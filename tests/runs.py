"""Small runs: the shipped config at tiny size, and a pretraining module without any config."""

import csv
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from omegaconf import DictConfig

import warm
from adpt.cli.check import check_options
from adpt.data import AnomalyDataModule, Folder
from adpt.losses import AngleContrastiveLoss, NormContrastiveLoss, PublishedNormLoss
from adpt.pretraining import Pretraining, PublishedPretraining, PublishedReferences
from adpt.pretraining.reference_pool import ReferencePool
from adpt.projector import FeatureProjector
from composing import CONF as CONF
from composing import composed
from small import ShortFeatures

TINY = [
    "backbone=efficientnet_lite0",
    "backbone.levels=[2,3]",
    "data.image_size=48",
    "data.batch_size=6",
    "data.num_workers=0",
]
TINY_TRAINING = [
    *TINY,
    "trainer=cpu",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=2",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "callbacks.progress=null",
    "model.projector.num_heads=4",
    "model.projector.num_references=8",
    "references.pool_size=4",
]
TINY_FIT = {
    "image_size": 48,
    "backbone": {"name": "efficientnet_lite0", "levels": [2, 3]},
    "device": "cpu",
}
TINY_EVALUATION = [*TINY, "shots=2", "heatmaps=2", "device=cpu"]


def training(folder: Path, *overrides: str) -> DictConfig:
    """The tiny training config, its files going to `folder`."""
    named = [f"output_dir={folder}", "run_name=tiny"]
    return composed("train", *TINY_TRAINING, *named, *overrides)


def evaluation(folder: Path, *overrides: str) -> DictConfig:
    """The tiny evaluation config, its files going to `folder`."""
    named = [f"output_dir={folder}", "run_name=tiny"]
    return composed("evaluate", *TINY_EVALUATION, *named, *overrides)


def run_task(task: Any, config: DictConfig) -> None:
    """Run an entry without Hydra and without what turns errors into an exit."""
    undecorated = task.__wrapped__
    check_options(config, undecorated.__name__)
    with quiet_logging():
        undecorated(config)


@contextmanager
def quiet_logging() -> Iterator[None]:
    """Undo what an entry does to the loggers of Lightning."""
    names = ("lightning", "lightning.fabric", "lightning.pytorch")
    before = {name: list(logging.getLogger(name).handlers) for name in names}
    rank_zero = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    filters = list(rank_zero.filters)
    try:
        yield
    finally:
        for name, handlers in before.items():
            logging.getLogger(name).handlers = handlers
        rank_zero.filters = filters


def command(
    module: str, *arguments: str, cwd: Path, timeout: float = 120, **environment: str | None
) -> subprocess.CompletedProcess[str]:
    """Run `python -m adpt.<module>`; None removes a variable."""
    changed = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"} | environment
    env = {name: value for name, value in changed.items() if value is not None}
    return warm.run(
        [sys.executable, "-m", f"adpt.{module}", *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


# Runs `main` of each command in turn: what one has prepared is there for the next.
_SCRIPT = """
import contextlib, importlib, io, json, sys
for module, *words in json.loads(sys.stdin.read()):
    sys.argv = [f"adpt.{module}", *words]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            importlib.import_module(f"adpt.{module}").main()
            code = 0
        except SystemExit as left:
            code = left.code
    print(json.dumps([code, said.getvalue()]), flush=True)
"""


def run_all(commands: list[list[str]], folder: Path) -> list[tuple[int, str]]:
    """Run commands, each a module and its words, in one process; exit codes, and what they say."""
    done = warm.run(
        [sys.executable, "-c", _SCRIPT], input=json.dumps(commands),
        cwd=folder, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


# ---- Without config -------------------------------------------------------------------------


def folder_data(root: Path, **options: Any) -> Folder:
    """A data module of own products at 48 pixels."""
    return Folder(root, **{"image_size": 48, "batch_size": 6, "num_workers": 0, **options})


def pretraining(seed: int = 0, **options: Any) -> Pretraining:
    """A tiny module: two levels of the small backbone, plain gradient descent."""
    torch.manual_seed(seed)
    references = options.pop("references", None)
    return Pretraining(
        **{
            "backbone": ShortFeatures(),
            "projector": partial(FeatureProjector, num_heads=4, num_references=8),
            "references": references or ReferencePool(pool_size=4, shots=(1, 2), seed=seed),
            "angle_loss": AngleContrastiveLoss(),
            "norm_loss": NormContrastiveLoss(),
            "optimizer": partial(torch.optim.SGD, lr=0.05),
            "scheduler": partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[2]),
            **options,
        }
    )


def published_pretraining(**options: Any) -> PublishedPretraining:
    """A tiny module that trains as the authors did."""
    return PublishedPretraining(
        **{
            "backbone": options.pop("backbone", None) or ShortFeatures(),
            "projector": partial(FeatureProjector, num_heads=4, num_references=8),
            "references": PublishedReferences(pool_size=None, shots=(1, 2)),
            "angle_loss": AngleContrastiveLoss(),
            "norm_loss": PublishedNormLoss(),
            "optimizer": partial(torch.optim.Adam, lr=1e-4, weight_decay=5e-4),
            "scheduler": partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[7]),
            "centre_batch_size": 5,
            **options,
        }
    )


def trainer(**options: Any) -> Trainer:
    """A quiet trainer for the CPU that writes nothing."""
    return Trainer(
        **{
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
            "log_every_n_steps": 1,
            **options,
        }
    )


def fitted(
    data: AnomalyDataModule, module: Pretraining | None = None, **options: Any
) -> tuple[Pretraining, Trainer]:
    """Fit a module, by default the tiny one."""
    module = module or pretraining()
    ckpt_path = options.pop("ckpt_path", None)
    using = trainer(**options)
    using.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return module, using


def state(module: Pretraining) -> dict[str, torch.Tensor]:
    """What a module has learned or computed: everything but the backbone."""
    return {
        name: value.detach().clone()
        for name, value in module.state_dict().items()
        if not name.startswith("backbone.")
    }
