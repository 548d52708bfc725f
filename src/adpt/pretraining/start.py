"""Training that sets out from the weights of a projector file."""

import torch

from adpt.errors import UserError
from adpt.pretraining.module import Pretraining
from adpt.weights import ProjectorFile, load_matching_projector


def start_from(found: ProjectorFile | None, module: Pretraining) -> None:
    """Give a module that was just built the weights of a projector file, to train on from there.

    Its projector must be built like the file's, so that the config states the run; None leaves the
    module as it is.

    Raises:
        WeightsError: The file is not usable, or was made for another backbone or other levels.
        UserError: The file's projector is built otherwise.
    """
    built = module.projector
    learned = load_matching_projector(found, module.backbone, torch.device("cpu"), built.block)
    if found is None or learned is None:
        return
    options = {f"model.projector.{n}": (v, learned.options[n]) for n, v in built.options.items()}
    options["model.residual"] = options.pop("model.projector.on_residuals")
    if not learned.scale_by_references:
        scaled = bool((learned.scale != 1).any())
        options["model.scale_levels"] = (module.scale_levels, scaled)
    differing = {name: pair for name, pair in options.items() if pair[0] != pair[1]}
    if differing:
        here = " ".join(f"{name}={str(here).lower()}" for name, (here, _) in differing.items())
        there = " ".join(f"{name}={str(there).lower()}" for name, (_, there) in differing.items())
        raise UserError(
            f"{found.name} holds a projector of another build than {here}. To start from it, give"
            f" {there}."
        )
    built.load_state_dict(learned.state_dict())
