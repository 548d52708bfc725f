"""Weights & Biases: what of a run goes there, and under which names."""

from adpt.tracking.artifacts import log_projector, use_projector
from adpt.tracking.check_figures import Figures, log_check, name_figures
from adpt.tracking.logger import (
    finishing,
    has_wandb_account,
    log_config,
    summarise_by_mean,
    wandb_logger,
)
from adpt.tracking.results_log import log_evaluation

__all__ = [
    "Figures",
    "finishing",
    "has_wandb_account",
    "log_check",
    "log_config",
    "log_evaluation",
    "log_projector",
    "name_figures",
    "summarise_by_mean",
    "use_projector",
    "wandb_logger",
]
