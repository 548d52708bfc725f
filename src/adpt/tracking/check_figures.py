"""Checks in pretraining: names of their figures, and how they go to W&B."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import WandbLogger

EPOCH = "check/epoch"
"""Epochs of training that were over at a check: the x axis of its figures."""

Figures = Mapping[tuple[str, str, str], float]
"""Class, method and metric to a value, nan where it is not defined."""


def name_figures(where: str, kind: str, figures: Figures) -> dict[str, float]:
    """Name the figures of a check, and their means over classes.

    W&B makes a section of a run's page of what stands before the first slash, so the few means
    have one of their own: `check/visa/patchcore/image_auroc/pretrained` is a mean, and
    `check_classes/visa/pcb1/patchcore/image_auroc/pretrained` of one class.

    Args:
        where: Begins the names: `check/<set>` or `held_out`.
        kind: The kind of features, which ends them.
        figures: What was measured; of undefined values the means leave the class out.

    Returns:
        Name to value, means last; none where no class defines it.
    """
    section, _, rest = where.partition("/")
    each = "/".join(part for part in (f"{section}_classes", rest) if part)
    named, by_metric = {}, dict[str, list[float]]()
    for (class_name, method, metric), value in figures.items():
        named[f"{each}/{class_name}/{method}/{metric}/{kind}"] = value
        by_metric.setdefault(f"{where}/{method}/{metric}/{kind}", []).append(value)
    for name, values in by_metric.items():
        if not np.isnan(values).all():
            named[name] = float(np.nanmean(values))
    return named


def log_check(
    logger: WandbLogger,
    figures: Mapping[str, float],
    pictures: Mapping[str, Sequence[Path]],
    epoch: int,
    step: int,
) -> None:
    """Log a check over the epochs; a slider over its pictures goes from check to check.

    Args:
        logger: Of the run.
        figures: Name to value.
        pictures: Name to the files of always the same images, in the same order.
        epoch: How many epochs of training are over.
        step: The training step.
    """
    import wandb

    run = logger.experiment
    run.define_metric(EPOCH, hidden=True)
    for name in figures:
        # Globs would not do: which of several that fit W&B takes is not told.
        run.define_metric(name, step_metric=EPOCH)
    images = {
        name: [wandb.Image(str(path), caption=path.stem) for path in paths]
        for name, paths in pictures.items()
    }
    # In one call, which is one place of W&B's slider.
    logged: dict[str, Any] = {**figures, **images, EPOCH: epoch}
    logger.log_metrics(logged, step=step)
