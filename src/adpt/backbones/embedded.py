"""A small network whose weights come with the package and need no download."""

import logging
from importlib.resources import files

import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor, nn

from adpt.backbones.base import Backbone, Levels
from adpt.errors import UserError

_log = logging.getLogger(__name__)

WIDTHS = (32, 64, 96, 128)
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
_HIDDEN = (32, 64, 64, 64)
_STEPS = (2, 2, 2, 1)
_STEM_WIDTH = 24
_WEIGHTS = "embedded.safetensors"


class EmbeddedBackbone(Backbone):
    """A convolutional network that learned on drawn pictures alone, 0.6 million parameters.

    It learned to tell drawn materials apart, to find what disturbs them, and to name the defects of
    drawn products; `experiments/embedded_backbone` makes its weights and says how it compares. No
    layer normalises by its own input, so features of different images can be compared.

    Args:
        name: What the backbone is called in configs and records.
        levels: How many levels, counted from the deepest, or which ones of 0 to 3: widths 32, 64,
            96 and 128 at strides 4, 8, 16 and 16.

    Raises:
        UserError: There are no such levels.
    """

    options_show = True

    def __init__(self, name: str = "embedded", levels: int | tuple[int, ...] = 4) -> None:
        every = range(len(WIDTHS))
        if isinstance(levels, int) and 1 <= levels <= len(every):
            levels = tuple(every[-levels:])
        if isinstance(levels, int) or not levels or list(levels) != sorted(set(levels) & {*every}):
            raise UserError(
                f"backbone.levels={levels}: {name} has levels 0 to {every[-1]}; name some of them "
                "in rising order, or say how many."
            )
        super().__init__(name, [WIDTHS[i] for i in levels], mean=MEAN, std=STD)
        self.indices = tuple(levels)
        self.network = EmbeddedNetwork()
        packed = files("adpt.backbones").joinpath(_WEIGHTS).read_bytes()
        self.network.load_state_dict({name: w.float() for name, w in load(packed).items()})
        self.network.to(memory_format=torch.channels_last)
        self.freeze()
        _log.warning(
            "Backbone %s learned on drawn pictures alone: far weaker than any network with ImageNet"
            " weights. Compare methods with another one.",
            name,
        )

    def unfreeze(self) -> None:
        """Refuse: the weights are part of the package, and no file could bring others back.

        Raises:
            UserError: Always.
        """
        raise UserError(
            f"model.train_backbone=true: backbone {self.name} is fixed and cannot learn. Choose"
            " another, for instance backbone=timm backbone.name=resnet18.a1_in1k."
        )

    def levels(self, images: Tensor) -> Levels:
        """Whitened features, see `Backbone.levels`; any size from 16 px."""
        stages = self.network(images)
        return [self.network.readouts[i](stages[i]) for i in self.indices]


class EmbeddedNetwork(nn.Module):
    """The layers, untrained: a stem, four stages, and a linear map that whitens each stage.

    Attributes:
        readouts: One 1×1 convolution a stage; `forward` leaves them out, for they are computed from
            the stages of the trained network.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, _STEM_WIDTH, 5, stride=2, padding=2)
        before = (_STEM_WIDTH, *WIDTHS[:-1])
        self.stages = nn.ModuleList(map(_Stage, before, WIDTHS, _HIDDEN, _STEPS))
        self.readouts = nn.ModuleList(nn.Conv2d(width, width, 1) for width in WIDTHS)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Stages before rectification, (B, C, h, w) each, of normalised images (B, 3, H, W)."""
        features = F.relu(self.stem(images))
        found = []
        for stage in self.stages:
            found.append(stage(features))
            features = F.relu(found[-1])
        return found


class _Stage(nn.Module):
    """A convolution that may halve the grid, then a residual block."""

    def __init__(self, before: int, width: int, hidden: int, step: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(before, width, 3, stride=step, padding=1)
        self.first = nn.Conv2d(width, hidden, 3, padding=1)
        self.second = nn.Conv2d(hidden, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, h, w) to (B, width, h / step, w / step), not rectified."""
        entered = F.relu(self.enter(features))
        added: Tensor = self.second(F.relu(self.first(entered)))
        return entered + added
