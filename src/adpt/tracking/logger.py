"""W&B runs: begun with or without an account, ended with what to do next."""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.loggers import Logger, WandbLogger
from omegaconf import DictConfig, OmegaConf

from adpt.errors import UserError
from adpt.running.whole_files import make_output_folder

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)


def wandb_logger(
    project: str,
    name: str,
    save_dir: str,
    *,
    mode: str = "online",
    entity: str | None = None,
    tags: Sequence[str] = (),
    seed: int | None = None,
) -> WandbLogger:
    """A W&B logger; the jobs of a multirun share a group, and no account means offline.

    The entry's name, such as "train", is the run's job type.

    Args:
        project: W&B project.
        name: Name of the run.
        save_dir: Where the run's files go.
        mode: "online" or "offline".
        entity: W&B user or team; None for the account's own.
        tags: Tags of the run.
        seed: Follows the name, unless that tells it already: runs of a sweep over seeds would
            else be called the same.

    Raises:
        UserError: `mode` is something else.
    """
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
    if seed is not None and not re.search(rf"seed[ _=-]?{seed}(?!\d)", name):
        name = f"{name}_seed{seed}"
    group = job_type = None
    if HydraConfig.initialized():
        job_type = HydraConfig.get().job.name
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            group = Path(HydraConfig.get().sweep.dir).name
    make_output_folder(Path(save_dir, "wandb"))  # Pictures lie in it.
    return WandbLogger(
        project=project,
        name=name,
        save_dir=save_dir,
        offline=mode == "offline",
        entity=entity,
        tags=list(tags),
        group=group,
        job_type=job_type,
    )


def wandb_runs(loggers: Sequence[Logger]) -> "list[wandb.Run]":
    """The W&B runs among loggers; they begin here if they have not begun."""
    return [logger.experiment for logger in loggers if isinstance(logger, WandbLogger)]


def summarise_by_mean(loggers: Sequence[Logger], metric: str) -> None:
    """Have tables of W&B runs show a metric's mean, where that of all others is its last value."""
    for run in wandb_runs(loggers):
        run.define_metric(metric, step_metric="trainer/global_step", summary="mean")


def has_wandb_account() -> bool:
    """True if a key for W&B is at hand, in the environment or where `wandb login` puts it.

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


def log_config(loggers: Sequence[Logger], config: DictConfig) -> None:
    """Hand the composed config to every logger."""
    resolved = OmegaConf.to_container(config, resolve=True)
    for logger in loggers:
        logger.log_hyperparams(resolved)  # type: ignore[arg-type]


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
    for run in wandb_runs(loggers):
        run.finish(exit_code=int(status != "success"))
        # Other processes than the first have a stand-in for a run, all of it functions.
        if run.offline is True:
            folder = Path(run.dir).parent.absolute()
            log.info("The W&B run is logged offline; send it with: wandb sync %s", folder)
