"""Photometric views as PIL makes them: what the authors of ADPretrain trained on."""

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor

from adpt.data.views import Drawn, PhotometricViews

_ENHANCED = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


class PilViews(PhotometricViews):
    """As `PhotometricViews`, by PIL's operations.

    What is drawn is the same; hues are turned among 256, and a Gaussian blur is approximated by box
    blurs that reach farther than 9 pixels.
    """

    def view(self, image: Tensor, drawn: Drawn) -> Tensor:
        """Change an image as drawn."""
        picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
        for number, amount in drawn.jitter:
            if number < len(_ENHANCED):
                picture = _ENHANCED[number](picture).enhance(amount)
            else:
                picture = _turned(picture, amount)
        if drawn.grey:
            picture = picture.convert("L").convert("RGB")
        if drawn.sigma is not None:
            picture = picture.filter(ImageFilter.GaussianBlur(drawn.sigma))
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def _turned(picture: Image.Image, turn: float) -> Image.Image:
    """Turn the hues by a share of the circle, in 256 steps."""
    hue, saturation, value = picture.convert("HSV").split()
    moved = (np.array(hue).astype(np.int16) + int(turn * 255)).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(moved), saturation, value)).convert("RGB")
