"""The region of interest: outside of it pictures are blank, when fitting and when scoring."""

import os

import torch
from torch import Tensor

from adpt.data.images import ReadingRules, read_mask
from adpt.data.transforms import Geometry
from adpt.errors import BadImageError, UserError
from adpt.running.paths import expanded

_GREY = 118
"""About the mean of photographs, of which a backbone makes zeros."""


def read_interest(path: str | os.PathLike[str], geometry: Geometry) -> Tensor:
    """The region of interest of pictures, from a picture of their framing.

    Args:
        path: An image file, read as masks are: whatever is not black is inside.
        geometry: Brings it to the model's size, as it does with the pictures.

    Returns:
        (H, W) bool, of the model's size.

    Raises:
        UserError: The file cannot be read, or nothing is inside.
    """
    try:
        rules = ReadingRules(max_megapixels=geometry.rules.max_megapixels)
        inside = geometry.mask(read_mask(expanded(path), "", rules))
    except BadImageError as error:
        raise UserError(f"roi={path}: {error}") from error
    if not inside.any():
        raise UserError(f"roi={path} is black all over: paint what is to be looked at white.")
    return inside


def blank(images: Tensor, inside: Tensor | None) -> Tensor:
    """Images (B, 3, H, W) uint8 with one colour outside of (H, W), so that nothing shows there."""
    if inside is None:
        return images
    return torch.where(inside, images, torch.full_like(images, _GREY))
