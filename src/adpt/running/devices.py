"""Devices to compute on, and the seeds of all generators."""

import logging
import warnings

import torch

from adpt.errors import UserError


def seed_everything(seed: int) -> None:
    """Seed all generators, and keep Lightning's remarks down to those that a user can act on."""
    import lightning

    for name in ("lightning", "lightning.fabric", "lightning.pytorch"):
        # Lightning prints by itself what Hydra's logging prints already.
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "Tip:" not in record.getMessage()
    )
    # The frozen backbone is meant to be in evaluation mode, and the output folder to have files.
    warnings.filterwarnings("ignore", r".*module\(s\) in eval mode", module="lightning.*")
    warnings.filterwarnings("ignore", ".*exists and is not empty", module="lightning.*")
    warnings.filterwarnings("ignore", ".*does not have many workers", module="lightning.*")
    warnings.filterwarnings("ignore", ".*isinstance.treespec", module="lightning.*")
    lightning.seed_everything(seed, workers=True, verbose=False)


def check_accelerator(accelerator: str) -> None:
    """Refuse an accelerator that is not here, before anything is loaded.

    Raises:
        UserError: There is no such accelerator, or this machine has none.
    """
    from lightning.pytorch.accelerators import AcceleratorRegistry

    known = set(AcceleratorRegistry)
    if accelerator not in {*known, "auto", "gpu"}:
        names = ", ".join(sorted({*known, "auto", "gpu"}))
        raise UserError(f"trainer.accelerator={accelerator}: choose one of {names}.")
    needed = {"auto": ["cpu"], "gpu": ["cuda", "mps"]}.get(accelerator, [accelerator])
    if not any(AcceleratorRegistry[name]["accelerator"].is_available() for name in needed):
        what = "a GPU" if accelerator in ("gpu", "cuda") else f"accelerator {accelerator}"
        given = "trainer=gpu" if accelerator == "gpu" else f"trainer.accelerator={accelerator}"
        raise UserError(f"{given} needs {what}, and PyTorch finds none here. Add trainer=cpu.")


def choose_device(name: str, job: int = 0) -> torch.device:
    """The device to compute on: `auto` is a GPU where there is one.

    Args:
        name: auto, cpu, cuda, cuda:1 and the like.
        job: Number of a sweep's job: they are dealt out to the GPUs, for launchers that run several
            at a time.

    Raises:
        UserError: The name is no device of this machine.
    """
    if name == "auto":
        count = torch.cuda.device_count()
        name = f"cuda:{job % count}" if count else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(
            f"device={name} cannot be used here: it is none of auto, cpu, cuda, cuda:1 and the"
            " like. Use device=cpu."
        ) from error
    if device.type == "meta":
        raise UserError("device=meta cannot be used here: it computes nothing. Use device=cpu.")
    try:
        torch.empty(1, device=device)
    # Each kind of device has its own way to say that it is not there.
    except Exception as error:
        raise UserError(
            f"device={name} cannot be used here: PyTorch finds no such device on this machine. Use"
            " device=cpu."
        ) from error
    return device
