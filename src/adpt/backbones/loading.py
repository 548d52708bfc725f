"""Weights into a network of timm, cut behind the last level that is used."""

import inspect
import sys
from pathlib import Path
from typing import Any

from torch import nn

from adpt.backbones.weights_file import StateDict, find_on_hub, first_few
from adpt.errors import WeightsError


def find_weights(name: str, defaults: Any) -> Path:
    """The hub's file of weights that timm records in `defaults`, downloaded or from its cache.

    Raises:
        WeightsError: The hub has none, or they cannot be had.
    """
    if not defaults.hf_hub_id:
        raise WeightsError(
            f"{name} has no weights on the Hugging Face hub"
            + (f"; download {defaults.url}" if defaults.url else "")
            + " and set backbone.weights=<path of that file>."
        )
    return find_on_hub(defaults.hf_hub_id, defaults.hf_hub_filename, name)


def cut(network: Any, levels: list[int]) -> list[int]:
    """Drop what lies behind the last level; what `forward_intermediates` calls the levels now."""
    return list(network.prune_intermediate_layers(levels, prune_norm=True, prune_head=True))


def load_levels(network: nn.Module, levels: list[int], state: StateDict, source: str) -> list[int]:
    """Load what the levels need and cut the rest off.

    Args:
        network: A model of timm, untouched.
        levels: Blocks or stages.
        state: Weights, by timm's names or as they were published.
        source: Where they come from, for messages.

    Returns:
        As of `cut`.

    Raises:
        WeightsError: They are those of another network.
    """
    try:
        state = _to_timm(network, state)
    # Conversions meant for other checkpoints fail in their own ways.
    except Exception as error:
        raise WeightsError(f"{source} does not fit {_architecture(network)}: {error}") from error
    known = set(network.state_dict())
    indices = cut(network, levels)
    needed = network.state_dict()

    # What lies behind the last level differs from file to file and is never used.
    behind = ("head", "norm.", "fc_norm.", "fc.", "classifier", "mask_token")
    missing = [k for k in needed if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in known and not k.startswith(behind)]
    misshapen = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in needed.items()
        if key in state and state[key].shape != value.shape
    ]
    if missing or unexpected or misshapen:
        faults = (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        listed = "; ".join(f"{len(k)} {what}: {first_few(k)}" for what, k in faults if k)
        raise WeightsError(
            f"{source} does not hold the weights of {_architecture(network)}. Keys {listed}."
        )
    network.load_state_dict({key: state[key] for key in needed if key in state}, strict=False)
    return indices


def _architecture(network: Any) -> str:
    return str(network.pretrained_cfg["architecture"])


def _to_timm(network: nn.Module, state: StateDict) -> StateDict:
    """Apply timm's conversion of published checkpoints, which lies beside each model's class."""
    module = vars(sys.modules[type(network).__module__])
    for name in ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained"):
        if convert := module.get(name):
            takes_model = len(inspect.signature(convert).parameters) > 1
            converted: StateDict = convert(state, network) if takes_model else convert(state)
            return converted
    return state
