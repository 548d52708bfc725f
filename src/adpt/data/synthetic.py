"""Synthetic defects on normal images: pretraining sees more kinds than were photographed."""

import torch
from torch import Tensor
from torch.nn import functional as F

from adpt.errors import DataError

AREA = (0.002, 0.06)
"""Smallest and largest share of the image that a synthetic defect covers."""
VISIBLE = 8
"""Difference of grey levels, of 255, from which a pixel counts as changed."""


class SyntheticDefects:
    """Blend a foreign texture into an irregular spot of some normal images.

    The spot is where smooth noise, weighted by the distance from a random place, is largest; the
    texture is another part of the same image, a stain, or coloured noise. Related to CutPaste
    (arXiv 2104.04015) and DRAEM (arXiv 2108.07610).

    Args:
        share: Share of the normal images that get a defect, 0 to 1.

    Raises:
        DataError: The share is out of its range.
    """

    def __init__(self, share: float) -> None:
        if not 0 <= share <= 1:
            raise DataError(f"data.synthetic_defects={share}: a share lies between 0 and 1.")
        self.share = share

    def __call__(self, image: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Make a defect on a sound image (3, H, W) uint8, or none; `seed` decides everything.

        Returns:
            The image and its mask (H, W) bool: the pixels that changed visibly, small holes closed.
        """
        generator = torch.Generator().manual_seed(seed)
        if torch.rand((), generator=generator) >= self.share:
            return image, torch.zeros(image.shape[1:], dtype=torch.bool)
        pixels = image.float()
        spot = _spot(image.shape[1], image.shape[2], generator)
        opacity = 0.3 + 0.7 * torch.rand((), generator=generator)
        defective = pixels.lerp(_texture(pixels, generator), opacity * spot)
        defective = defective.round().clamp(0, 255)
        changed = ((defective - pixels).abs().amax(0, keepdim=True) > VISIBLE).float()
        grown = F.max_pool2d(changed, 5, stride=1, padding=2)
        closed = -F.max_pool2d(-grown, 5, stride=1, padding=2)
        return defective.to(torch.uint8), closed[0] > 0


def _spot(height: int, width: int, generator: torch.Generator) -> Tensor:
    """(H, W) in [0, 1]: 1 inside an irregular spot, with a soft edge."""
    row, column = torch.rand(2, generator=generator)
    rows = torch.linspace(0, 1, height)[:, None] - row
    columns = torch.linspace(0, 1, width) - column
    turn = 3.1416 * torch.rand((), generator=generator)
    along = rows * turn.cos() + columns * turn.sin()
    across = columns * turn.cos() - rows * turn.sin()
    stretch = 1 + 7 * torch.rand((), generator=generator) ** 2
    distance = (along.square() / stretch + across.square() * stretch).sqrt()
    small, large = torch.tensor(AREA).log()
    area = (small + (large - small) * torch.rand((), generator=generator)).exp()
    field = 0.6 * area.sqrt() * _noise(height, width, generator) - distance
    edge = field.flatten().kthvalue(int(field.numel() * (1 - area))).values
    spot: Tensor = ((field - edge) * min(height, width) / 3).clamp(0, 1)
    return spot


def _texture(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """(3, H, W): what the spot is filled with."""
    kind = int(torch.randint(3, (), generator=generator))
    _, height, width = pixels.shape
    colour = 255 * torch.rand(3, 1, 1, generator=generator)
    if kind == 0:  # another part of the image, turned and brightened
        shift = [int(torch.randint(n // 4, n, (), generator=generator)) for n in (height, width)]
        brightness = 0.6 + 0.8 * torch.rand((), generator=generator)
        return pixels.roll(shift, (1, 2)).flip(1) * brightness
    if kind == 1:  # a stain lets the surface shine through
        return 0.5 * pixels + 0.5 * colour
    contrast = 60 * torch.rand((), generator=generator)
    return colour + contrast * _noise(height, width, generator)


def _noise(height: int, width: int, generator: torch.Generator) -> Tensor:
    """(H, W) smooth noise of three octaves, about unit variance."""
    octaves = [
        F.interpolate(
            torch.randn(1, 1, cells, cells, generator=generator),
            (height, width),
            mode="bicubic",
            align_corners=True,
        )[0, 0]
        / 2**octave
        for octave, cells in enumerate((6, 14, 32))
    ]
    return torch.stack(octaves).sum(0)
