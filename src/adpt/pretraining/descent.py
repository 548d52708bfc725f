"""The optimizer and its schedule, checked before any work."""

from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from adpt.errors import UserError


def check_learning(config: DictConfig) -> None:
    """Refuse an optimizer or a schedule that cannot be made, before any work.

    Raises:
        UserError: One of them refuses its options, or there is no number of epochs.
    """
    if config.trainer.max_epochs is None:
        raise UserError(
            "trainer.max_epochs=null: a number is wanted; Lightning takes null for 1000."
        )
    model = config.model
    made: dict[str, Any] = {"params": [torch.nn.Parameter(torch.zeros(1))]}
    for option in ("optimizer", "scheduler"):
        if option not in model:
            continue  # Nothing is learned by descent.
        if model[option] is None:
            raise UserError(f"model.{option}=null: training needs one.")
        make = instantiate(model[option])
        try:
            made = {"optimizer": make(**made)}
        except Exception as error:
            raise UserError(f"model.{option}: {error}") from error
