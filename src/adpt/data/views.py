"""Photometric views: colour and sharpness change, so that masks stay aligned.

The operations give what those of `torchvision.transforms.v2` give on uint8 images. They are written
anew for their speed: the images stay floating-point numbers throughout, holding whole numbers, hue
needs no branch for the sector that a colour lies in, and the blur goes along one axis at a time.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

JITTER, GREYSCALE, BLUR = 0.8, 0.2, 0.5
"""How likely each of the operations is."""
BRIGHTNESS, CONTRAST, SATURATION = (0.6, 1.4), (0.6, 1.4), (0.6, 1.4)
HUE = (-0.1, 0.1)
SIGMA = (0.1, 2.0)
RADIUS = 4

LUMA = (0.2989, 0.587, 0.114)
CENTRES = torch.tensor([0.0, 1 / 3, -1 / 3]).view(3, 1, 1)
"""Where on the circle of hues red, green and blue lie."""


class PhotometricViews:
    """Two views of an image that differ in colour and sharpness only, so masks stay aligned.

    Colour jitter (0.4, 0.4, 0.4, 0.1) with p 0.8, grayscale p 0.2, Gaussian blur of σ 0.1 to 2
    with p 0.5, as in ADPretrain (arXiv 2511.05245).
    """

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """Draw two views, (2, 3, H, W), from an image (3, H, W) uint8; `seed` decides them."""
        draws = torch.Generator().manual_seed(seed)
        return torch.stack([self.view(image, draw(draws)) for _ in range(2)])

    def view(self, image: Tensor, drawn: "Drawn") -> Tensor:
        """Change an image as drawn."""
        pixels = image.float()
        for number, amount in drawn.jitter:
            pixels = _JITTER[number](pixels, amount)
        if drawn.grey:
            pixels = luma(pixels).expand(3, -1, -1)
        if drawn.sigma is not None:
            pixels = gaussian_blur(pixels, drawn.sigma)
        return pixels.to(torch.uint8)


class Drawn(NamedTuple):
    """The changes to an image for a view.

    Attributes:
        jitter: Brightness (0), contrast (1), saturation (2) and hue (3), with their amounts, in
            the order in which they are changed.
        grey: True if the colours go.
        sigma: Of the blur, in pixels; None for none.
    """

    jitter: list[tuple[int, float]]
    grey: bool
    sigma: float | None


def draw(draws: torch.Generator) -> Drawn:
    """Draw in the order in which torchvision's own transforms draw."""
    jitter = []
    if _happens(JITTER, draws):
        order = torch.randperm(4, generator=draws).tolist()
        amounts = [_drawn(*r, draws) for r in (BRIGHTNESS, CONTRAST, SATURATION, HUE)]
        jitter = [(number, amounts[number]) for number in order]
    grey = _happens(GREYSCALE, draws)
    return Drawn(jitter, grey, _drawn(*SIGMA, draws) if _happens(BLUR, draws) else None)


def brightness(pixels: Tensor, factor: float) -> Tensor:
    """Multiply by a factor; pixels here and below are (3, H, W), whole numbers from 0 to 255."""
    return torch.floor((pixels * factor).clamp_(0, 255))


def contrast(pixels: Tensor, factor: float) -> Tensor:
    """Stretch the distances from the picture's mean luma by a factor."""
    return _away_from(luma(pixels).mean(), pixels, factor)


def saturation(pixels: Tensor, factor: float) -> Tensor:
    """Stretch the distances from each pixel's luma by a factor."""
    return _away_from(luma(pixels), pixels, factor)


def hue(pixels: Tensor, turn: float) -> Tensor:
    """Turn the hues by a share of the circle; the largest and smallest channel stay as large.

    With the smallest channel taken off and divided by the largest, a hue is 1 − R + G + B sixths
    of the circle away from red, towards green where G > B. A channel is 1 up to one sixth away
    from its own place on the circle, and falls to 0 at two.
    """
    red, green, blue = pixels
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = torch.maximum(torch.maximum(red, green), blue).sub_(low)
    from_red = (chroma - red).add_(green).add_(blue).sub_(low).div_(6 * chroma.clamp(min=1))
    turned = from_red.copysign_(green - blue).add_(turn)
    away = turned - CENTRES
    away.sub_(away.round()).abs_()
    channels = away.mul_(-6).add_(2).clamp_(0, 1).mul_(chroma).add_(low)
    # From [0, 1] to whole numbers as torchvision rounds.
    return torch.floor(channels.mul_(255.999 / 255))


def gaussian_blur(pixels: Tensor, sigma: float) -> Tensor:
    """Weigh with a Gaussian of σ pixels over 9 × 9 of them, mirrored at the edges."""
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(RADIUS + 1)]
    total = 2 * sum(weights) - weights[0]
    padded = F.pad(pixels[None], (RADIUS,) * 4, mode="reflect")[0]
    for axis in (1, 2):
        length = pixels.shape[axis]
        out = padded.narrow(axis, RADIUS, length) * (weights[0] / total)
        for step in range(1, RADIUS + 1):
            for start in (RADIUS - step, RADIUS + step):
                out.add_(padded.narrow(axis, start, length), alpha=weights[step] / total)
        padded = out
    return torch.round(padded)


def luma(pixels: Tensor) -> Tensor:
    """Brightness as the eye weighs the channels, (1, H, W), whole numbers."""
    red, green, blue = pixels.split(1)
    grey = (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
    return torch.floor(grey)


def _away_from(grey: Tensor, pixels: Tensor, factor: float) -> Tensor:
    return torch.floor((pixels * factor).add_(grey, alpha=1 - factor).clamp_(0, 255))


def _happens(chance: float, draws: torch.Generator) -> bool:
    return bool(torch.rand(1, generator=draws) < chance)


def _drawn(low: float, high: float, draws: torch.Generator) -> float:
    return float(torch.empty(1).uniform_(low, high, generator=draws))


_JITTER = (brightness, contrast, saturation, hue)
