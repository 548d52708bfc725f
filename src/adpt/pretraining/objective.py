"""The figure that a search for better options goes by, on classes held out of pretraining."""

from collections.abc import Mapping

from omegaconf import DictConfig
from torch import Tensor

from adpt.errors import UserError
from adpt.results import METRICS

_CALLBACK = "held_out_check"


def check_objective(config: DictConfig) -> None:
    """Refuse what cannot be the objective in a config of `adpt.train`, before any work.

    Of a set to be tested on nothing may be chosen (protocol `clean`), so held-out classes of the
    training set are all that is accepted.

    Raises:
        UserError: `objective` is no figure of held-out classes, or these are not checked.
    """
    if config.objective is None:
        return
    check = config.callbacks.get(_CALLBACK)
    if check is None or config.trainer.max_epochs % check.every_n_epochs:
        raise UserError(
            f"objective={config.objective} is measured by callbacks={_CALLBACK}: add it with"
            " data.held_out=[...], and let it check after the last epoch"
            f" (callbacks.{_CALLBACK}.every_n_epochs)."
        )
    accepted = [f"held_out/{method}/{m}/pretrained" for method in check.methods for m in METRICS]
    if config.objective not in accepted:
        raise UserError(
            f"objective={config.objective}: options are chosen by a figure of held-out classes,"
            f" never of a set to be tested on; accepted are {', '.join(accepted)}."
        )


def measured(figures: Mapping[str, Tensor], objective: str | None) -> float | None:
    """The objective among what the trainer has logged last, for Hydra's sweepers; None without one.

    Raises:
        UserError: It was not measured: no image defines it, or training ended early.
    """
    if objective is None:
        return None
    if objective not in figures:
        raise UserError(
            f"objective={objective} was not measured: the held-out classes have no defective image,"
            " or no masks for a metric of pixels, or training ended before its last epoch."
        )
    return float(figures[objective])
