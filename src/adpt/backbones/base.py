"""Base of every backbone: frozen features of an image at several levels."""

import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import metadata
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from adpt.backbones.precision import KEPT, Precision, computing_in, rounded
from adpt.errors import UserError
from adpt.running.sources import source_of

Levels = list[Tensor]

_VERSIONS = ("torch", "torchvision", "timm", "pillow")
"""Packages that a pixel passes on its way into a feature."""
AT_ONCE = 4
"""Images that a frozen backbone takes at once on a CPU: a convolution's maps then stay in its
caches. Batches of any multiple of it give an image the same features to the bit."""


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
    precision: Precision = "float32"
    """Of its arithmetic while it is frozen; features are float32 all the same."""
    options: Mapping[str, Any]
    """The constructor's arguments, as plain values."""
    options_show: ClassVar[bool] = False
    """True if levels, mean, standard deviation and weights tell all that the options decide; said
    of the class itself, not of those that derive from it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note what a backbone is made with, so that none has to tell it."""
        backbone = super().__new__(cls)
        try:
            given = inspect.signature(cls.__init__).bind(backbone, *args, **kwargs)
        except TypeError:  # Of a copy, which gets what the original has; or `__init__` refuses.
            return backbone
        given.apply_defaults()
        options = {name: _plain(value) for name, value in list(given.arguments.items())[1:]}
        object.__setattr__(backbone, "options", options)
        return backbone

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

    @property
    def has_class_token(self) -> bool:
        """True if it has a token of the whole image, for `levels_and_token`."""
        return False

    def require_class_token(self, method: str) -> None:
        """Refuse, with a UserError, a method that uses the class token where there is none."""
        if not self.has_class_token:
            raise UserError(
                f"{method} uses the class token, and backbone={self.name} has none: choose a vision"
                " transformer that has one, such as backbone=dinov2_b."
            )

    @abstractmethod
    def levels(self, images: Tensor) -> Levels:
        """Features of normalised images.

        Args:
            images: (B, 3, H, W), float, already normalised with `mean` and `std`.

        Returns:
            One (B, C, h, w) tensor a level, shallow to deep.
        """

    def levels_and_token(self, images: Tensor) -> Levels:
        """As `levels`, and as one more, the last, the class token (B, C, 1, 1)."""
        raise NotImplementedError(f"{type(self).__name__} has no levels_and_token().")

    def encoding(self, class_token: bool) -> Callable[[Tensor], Levels]:
        """Images to levels, and with them the class token if it is wanted; see `forward`."""
        return partial(self, class_token=True) if class_token else self

    def forward(self, images: Tensor, class_token: bool = False) -> Levels:
        """Features of images as data modules give them; without gradient while frozen.

        Args:
            images: (B, 3, H, W), uint8 in [0, 255] or float in [0, 1].
            class_token: True for the class token (B, C, 1, 1) as one further level, the last, of a
                backbone that `has_class_token`.

        Returns:
            One (B, C, h, w) tensor a level, shallow to deep.

        Raises:
            UserError: The class token is wanted, and it has none, or its class gives other levels
                than its channels say.
        """
        if class_token:
            self.require_class_token("A method")
        learns = torch.is_grad_enabled() and not self.frozen
        with torch.set_grad_enabled(learns), computing_in(self.precision, images.device.type):
            scale = 255 if images.dtype == torch.uint8 else 1
            images = images.to(self.mean.dtype) / scale
            mean, std = self.mean.view(1, 3, 1, 1), self.std.view(1, 3, 1, 1)
            # Channels last: MobileNetV2 takes about a third less time on a CPU.
            images = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
            if (weight := next(self.parameters(), None)) is not None:
                images = images.to(weight.dtype)
            make = self.levels_and_token if class_token else self.levels
            if learns or images.device.type != "cpu" or torch.compiler.is_compiling():
                levels = make(images)
            else:
                parts = [make(few) for few in images.split(AT_ONCE)]
                levels = [torch.cat(level) for level in zip(*parts, strict=True)]
            self._check(levels, class_token)
            return [rounded(level.contiguous(), self.precision, self.name) for level in levels]

    def _check(self, levels: Levels, class_token: bool) -> None:
        # A level that passed for the token would be lacking in what other methods see, and methods
        # and projectors are made by the widths that are claimed.
        widths = [level.shape[1] if level.ndim == 4 else None for level in levels]
        shapes = [tuple(level.shape) for level in levels]
        if class_token and (
            len(levels) != len(self.channels) + 1 or shapes[-1][2:] != (1, 1) or None in widths
        ):
            raise UserError(
                f"{type(self).__name__}.levels_and_token gave {shapes}: it is to give its"
                f" {len(self.channels)} levels and behind them the class token, (B, C, 1, 1)."
            )
        if widths[: len(levels) - class_token] != list(self.channels):
            raise UserError(
                f"{type(self).__name__}.levels gave {shapes}: its channels say that it gives"
                f" levels (B, C, h, w) of widths {list(self.channels)}, shallow to deep."
            )

    @property
    def kept_as(self) -> torch.dtype:
        """The type that holds every feature as it came out."""
        return KEPT.get(self.precision, torch.float32)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over levels, options, mean, standard deviation and weights, in hex.

        What a projector or an inspector that was made with this backbone knows it by. Of a frozen
        backbone it is taken in the precision that the weights have when it is first asked for, then
        kept; of one that learns it is that of the weights as they are.
        """
        if self._fingerprint is not None:
            return self._fingerprint
        options = {} if vars(type(self)).get("options_show") else dict(self.options)
        told = [options, self.mean.tolist(), self.std.tolist(), self.weights_sha256]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        if self.frozen:
            self._fingerprint = digest
        return digest

    @property
    def weights_sha256(self) -> str:
        """SHA-256 over the levels chosen and all weights' names, shapes and values, in hex."""
        digest = hashlib.sha256(f"levels {list(self.indices)};".encode())
        for key, value in sorted(self.state_dict().items()):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)};".encode())
            digest.update(_bytes(value))
        return digest.hexdigest()

    def is_known_as(self, digest: str) -> bool:
        """True if a file that notes this fingerprint was made with this backbone.

        Files of before options, mean and standard deviation counted note the weights' hash.
        """
        return self.fingerprint == digest or self.weights_sha256 == digest

    def decides(self) -> dict[str, Any]:
        """All that decides over the features of an image, beside the image, as plain values.

        Options, weights, precision, the layers with their settings, the source of a class from
        outside adpt, and the versions of what computes. Two backbones that differ in none of it
        have the same features, and the same name in the cache.
        """
        return {
            "name": self.name,
            "class": type(self).__qualname__,
            "source": source_of(type(self)),
            "fingerprint": self.fingerprint,
            "precision": self.precision,
            "options": dict(self.options),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "network": hashlib.sha256("\n".join(_settings(self)).encode()).hexdigest(),
            "versions": {name: metadata.version(name) for name in _VERSIONS},
        }

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
            UserError: The backbone's weights are fixed, or it computes in less than float32.
        """
        if self.precision != "float32":
            raise UserError(
                f"backbone.precision={self.precision} is for a frozen backbone: for one that is"
                " trained leave it out and set trainer.precision."
            )
        self.frozen = False
        self._fingerprint = None
        self.requires_grad_(True)

    def train(self, mode: bool = True) -> Self:
        """Ignore `mode`: a backbone is always in evaluation mode."""
        return super().train(False)


def _settings(module: nn.Module) -> Iterator[str]:
    """Descriptions of a network's layers by themselves, and their plain attributes."""
    yield repr(module)
    for name, layer in module.named_modules():
        for key, value in sorted(vars(layer).items()):
            if not key.startswith("_") and isinstance(value, bool | int | float | str | tuple):
                yield f"{name}.{key}={value!r}"


def _plain(value: Any) -> Any:
    """An argument as JSON takes it; large or odd ones as a hash or by their type."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, Tensor):
        shape = f"{value.dtype} {tuple(value.shape)};".encode()
        return hashlib.sha256(shape + _bytes(value)).hexdigest()
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        listed = [_plain(one) for one in value]
        return sorted(listed, key=repr) if isinstance(value, set | frozenset) else listed
    if isinstance(value, nn.Module):
        return hashlib.sha256("\n".join(_settings(value)).encode()).hexdigest()
    told = repr(value)
    return f"{type(value).__module__}.{type(value).__qualname__}" if " at 0x" in told else told


def _bytes(value: Tensor) -> memoryview:
    flat = value.detach().cpu().contiguous().view(-1)
    return flat.view(torch.uint8).numpy().data
