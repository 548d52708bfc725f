"""What `trainer.precision=auto` stands for: the quicker of two, by measurement."""

import json
import logging
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, ListConfig
from torch import Tensor

from adpt.errors import UserError
from adpt.pretraining.module import Pretraining
from adpt.running.unpickling import load_tensors

log = logging.getLogger(__name__)

AUTO, EXACT, SHORT = "auto", "32-true", "bf16-mixed"
IMAGES, TURNS = 4, 3
WORTH_IT = 1.1
"""How many times as fast bfloat16 must be to be chosen."""


def with_precision(
    config: DictConfig, model: Pretraining, size: Sequence[int], checkpoint: Path | None
) -> DictConfig:
    """The config, its `trainer.precision` as `chosen_precision` has it where it is "auto".

    Arguments and errors as there.
    """
    if config.trainer.get("precision") != AUTO:
        return config
    settled = config.copy()
    settled.trainer.precision = chosen_precision(config.trainer, model, size, checkpoint)
    return settled


def chosen_precision(
    trainer: DictConfig, model: Pretraining, size: Sequence[int], checkpoint: Path | None
) -> str | int:
    """What "auto" stands for: the checkpoint's precision, or else what is quicker here.

    On a CPU the backbone and the projector, forward and backward, are timed on random images in
    float32 and with products in bfloat16, which is quicker where the processor multiplies such
    numbers. On a GPU it is bf16-mixed, as `trainer=gpu` has it.

    Args:
        trainer: The config's `trainer`.
        model: What is trained; it stays as it is.
        size: Height and width of the images.
        checkpoint: The checkpoint that training goes on from, if any.

    Raises:
        UserError: There are several processes, of which each would measure.
    """
    # What a trainer of one's own leaves out is as Lightning has it.
    devices = trainer.get("devices", "auto")
    one = str(devices) in ("1", "auto") or (isinstance(devices, ListConfig) and len(devices) == 1)
    if trainer.get("num_nodes", 1) != 1 or not one:
        raise UserError(
            "trainer.precision=auto is measured by a process for itself: for several of them"
            f" choose trainer.precision={EXACT} or {SHORT}."
        )
    if checkpoint is not None and (former := _precision_of(checkpoint)) is not None:
        log.info("trainer.precision=%s, as in the checkpoint", former)
        return former
    if next(model.projector.parameters()).dtype != torch.float32:
        return EXACT  # Of weights that the model rounds by itself.
    if trainer.accelerator != "cpu" and torch.accelerator.is_available():
        return SHORT
    try:
        exact, short = step_seconds(model, size)
    except RuntimeError as error:  # A part of one's own may take no other numbers.
        log.warning("trainer.precision=%s, for bfloat16 cannot be measured: %s", EXACT, error)
        return EXACT
    chosen = SHORT if exact > WORTH_IT * short else EXACT
    log.info(
        "trainer.precision=%s was chosen by measurement: forward and backward of %d images took"
        " %.3g s in float32 and %.3g s in bfloat16",
        *(chosen, IMAGES, exact, short),
    )
    return chosen


def step_seconds(model: Pretraining, size: Sequence[int]) -> tuple[float, float]:
    """Seconds that some images take on the CPU in float32, and with products in bfloat16.

    Medians of a few turns, after one that warms up. No weight, gradient or random state changes.
    """
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 3, *size), generator=draw, dtype=torch.uint8)
    times: dict[bool, list[float]] = {False: [], True: []}
    training = model.projector.training
    model.projector.eval()  # A block of one's own may keep count of what it sees.
    try:
        for _ in range(1 + TURNS):
            for short, taken in times.items():
                start = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=short):
                    _forward_and_backward(model, images)
                taken.append(time.perf_counter() - start)
    finally:
        model.projector.train(training)
    exact, short_ones = (statistics.median(taken[1:]) for taken in times.values())
    return exact, short_ones


def _forward_and_backward(model: Pretraining, images: Tensor) -> None:
    levels, projector = model.backbone(images), model.projector
    projected = projector(
        levels,
        torch.ones(len(levels)) if projector.scale_by_references else None,
        [level.flatten(2).mT for level in levels] if projector.needs_references else None,
    )
    learned = [one for one in model.parameters() if one.requires_grad]
    total = torch.stack([level.float().mean() for level in projected]).sum()
    torch.autograd.grad(total, learned, allow_unused=True)


def _precision_of(checkpoint: Path) -> str | int | None:
    config = load_tensors(checkpoint).get("config")
    return json.loads(config)["trainer"].get("precision") if config else None
