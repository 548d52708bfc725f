"""What every backbone gives: frozen features of an image at several levels."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

Levels = list[Tensor]


class Backbone(nn.Module, ABC):
    """A frozen network that turns images into feature levels.

    Frozen means: no parameter takes a gradient and the network stays in evaluation mode, also
    when a module that holds it is switched to training. `unfreeze` lets its weights learn.

    Args:
        name: What the backbone is called in configs and records.
        channels: Width of each level.
        mean: Per-channel mean that the pretrained weights expect, images in [0, 1].
        std: Per-channel standard deviation, likewise.
    """

    mean: Tensor
    std: Tensor

    indices: tuple[int, ...] = ()
    """Which blocks or stages the levels are, as the network counts them."""

    def __init__(
        self, name: str, channels: Sequence[int], mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.name = name
        self.channels = tuple(channels)
        self.frozen = True
        self._fingerprint: str | None = None
        self.register_buffer("mean", torch.tensor(list(mean)), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)), persistent=False)

    @abstractmethod
    def levels(self, images: Tensor) -> Levels:
        """Features of normalised images.

        Args:
            images: (B, 3, H, W), float, already normalised with `mean` and `std`.

        Returns:
            One (B, C, h, w) tensor a level, shallow to deep.
        """

    def forward(self, images: Tensor) -> Levels:
        """Features of images as data modules give them; without gradient while frozen.

        Args:
            images: (B, 3, H, W), uint8 in [0, 255] or float in [0, 1].

        Returns:
            One (B, C, h, w) tensor a level, shallow to deep.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            scale = 255 if images.dtype == torch.uint8 else 1
            images = images.to(self.mean.dtype) / scale
            mean, std = self.mean.view(1, 3, 1, 1), self.std.view(1, 3, 1, 1)
            # Channels last: MobileNetV2 takes about a third less time on a CPU.
            images = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
            return [level.contiguous() for level in self.levels(images)]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the levels chosen and all weights' names, shapes and values, in hex.

        Equal fingerprints mean equal features; recorded with results so that numbers can be traced.
        Of a frozen backbone it is taken in the precision that the weights have when it is first
        asked for, then kept; of one that learns it is that of the weights as they are.
        """
        if self._fingerprint is not None:
            return self._fingerprint
        digest = hashlib.sha256(f"levels {list(self.indices)};".encode())
        for key, value in sorted(self.state_dict().items()):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)};".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        if self.frozen:
            self._fingerprint = digest.hexdigest()
        return digest.hexdigest()

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights by the names under which `backbone.weights=<file>` expects them."""
        return dict(self.state_dict())

    def freeze(self) -> None:
        """Stop gradients and fix evaluation mode; subclasses call it last in their constructor."""
        self.frozen = True
        self.requires_grad_(False)
        self.eval()

    def unfreeze(self) -> None:
        """Let the weights learn.

        Evaluation mode stays: the statistics of batch normalisation are those of pretraining, and
        an image has the same features whether it is trained on or serves as a reference.

        Raises:
            UserError: The backbone's weights are fixed.
        """
        self.frozen = False
        self._fingerprint = None
        self.requires_grad_(True)

    def train(self, mode: bool = True) -> Self:
        """Ignore `mode`: a backbone is always in evaluation mode."""
        return super().train(False)
