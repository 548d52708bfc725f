"""A small backbone with real weights, made quickly as often as a test wants it."""

from copy import deepcopy
from functools import cache, lru_cache
from pathlib import Path
from typing import cast

from torch import Tensor

from adpt.backbones import Levels, build_backbone, timm
from adpt.backbones.efficientnet import installed_weights
from adpt.backbones.timm import TimmBackbone
from adpt.backbones.weights_file import StateDict, read_state_dict

SMALL = "efficientnet_lite0"
LEVELS = (2, 3)
"""At strides 8 and 16."""
WIDTHS = (40, 112)
"""Of these levels."""


class SmallBackbone(TimmBackbone):
    """EfficientNet-Lite0 up to the last of some levels, read from its file but once a process."""

    def __init__(self, levels: tuple[int, ...] = LEVELS, name: str = SMALL) -> None:
        built = deepcopy(_built(levels))
        mean, std = built.mean.tolist(), built.std.tolist()
        super().__init__(
            name,
            built.network,
            indices=built.indices,
            channels=built.channels,
            mean=mean,
            std=std,
        )


@lru_cache
def _built(levels: tuple[int, ...]) -> TimmBackbone:
    return cast(TimmBackbone, build_backbone(SMALL, levels=levels))


class ShortFeatures(SmallBackbone):
    """With numbers of about one, for plain gradient descent in few steps."""

    def levels(self, images: Tensor) -> Levels:
        return [level / 8 for level in super().levels(images)]


@cache
def _installed() -> StateDict:
    return read_state_dict(installed_weights())


def _read(path: Path) -> StateDict:
    return dict(_installed()) if path == installed_weights() else read_state_dict(path)


def read_once() -> None:
    """Let this process read the small backbone's file of weights once; networks copy from it."""
    timm.read_state_dict = _read
