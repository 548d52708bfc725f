"""The network that the embedded backbone was before: fixed filters and random convolutions."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from adpt.backbones.base import Backbone, Levels

_WIDTHS = (32, 64, 96, 128)
_STRIDES = (4, 8, 16, 16)
_SEED = 20250517
_KERNEL = 11

Array = NDArray[np.float64]


class RandomBackbone(Backbone):
    """Gabor and colour filters followed by random convolutions: the bar to clear.

    Args:
        levels: Which of 0 to 3: widths 32, 64, 96 and 128 at strides 4, 8, 16 and 16.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__(
            "random", [_WIDTHS[i] for i in levels], mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
        )
        self.indices = tuple(levels)
        bank = _filter_bank()
        self.stem = nn.Conv2d(3, len(bank), _KERNEL, stride=4, padding=_KERNEL // 2, bias=False)
        _set(self.stem, bank)
        stream = np.random.PCG64(_SEED)
        # Both signs of each filter response survive the rectification.
        width, stride = 2 * len(bank), 4
        self.stages = nn.ModuleList()
        for stage_width, stage_stride in zip(_WIDTHS, _STRIDES, strict=True):
            step = stage_stride // stride
            conv = nn.Conv2d(width, stage_width, 3, stride=step, padding=1, bias=False)
            _set(conv, _orthogonal_filters(stream, stage_width, width))
            self.stages.append(conv)
            width, stride = stage_width, stage_stride
        self.freeze()

    def levels(self, images: Tensor) -> Levels:
        """Filter responses before rectification."""
        responses = self.stem(images)
        features = F.relu(torch.cat([responses, -responses], dim=1))
        levels = []
        for i, stage in enumerate(self.stages):
            features = stage(features)
            if i in self.indices:
                levels.append(features)
            features = F.relu(features)
        return levels


def build(name: str, image_size: int, levels: Sequence[int]) -> RandomBackbone:
    """Build it with the arguments that a backbone's config has."""
    return RandomBackbone(levels)


def _set(conv: nn.Conv2d, weight: Array) -> None:
    # Rounding hides the last bits, in which mathematical libraries differ.
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(np.round(weight, 6)))


def _filter_bank() -> Array:
    """Gabor filters on brightness and smoothed opponent colours: (K, 3, 11, 11), unit norm."""
    axis = np.arange(_KERNEL) - _KERNEL // 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    brightness, red_green, blue_yellow = (
        np.array(colour) for colour in ((1, 1, 1), (1, -1, 0), (-1, -1, 2))
    )
    filters = []
    for wavelength, sigma in ((4.0, 1.6), (8.0, 3.0)):
        envelope = np.exp(-(x**2 + y**2) / (2 * sigma**2))
        for angle in np.arange(4) * math.pi / 4:
            phase = 2 * math.pi / wavelength * (x * math.cos(angle) + y * math.sin(angle))
            for wave in (np.cos(phase), np.sin(phase)):
                zero_mean = wave - (wave * envelope).sum() / envelope.sum()
                filters.append((brightness, envelope * zero_mean))
    blur = np.exp(-(x**2 + y**2) / (2 * 3.0**2))
    filters += [(colour, blur) for colour in (brightness, red_green, blue_yellow)]
    bank = np.stack([colour[:, None, None] * plane for colour, plane in filters])
    unit: Array = bank / np.linalg.norm(bank.reshape(len(bank), -1), axis=1)[:, None, None, None]
    return unit


def _orthogonal_filters(stream: np.random.PCG64, count: int, width: int) -> Array:
    """Mutually orthogonal 3×3 filters that keep a rectified signal's power: (count, width, 3, 3).

    Uniform numbers from the generator's raw bits, which NumPy promises never to change; it gives
    no such promise for its normal numbers.
    """
    bits = stream.random_raw(count * width * 9) >> np.uint64(11)
    uniform = bits.astype(np.float64) * 2.0**-53 - 0.5
    basis, triangle = np.linalg.qr(uniform.reshape(width * 9, count))
    filters: Array = (basis * np.sign(np.diag(triangle))).T * math.sqrt(2)
    return filters.reshape(count, width, 3, 3)
