"""Position embeddings of a plain transformer for another grid."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from adpt.errors import WeightsError


def resize_position_embedding(
    embedding: Tensor, grid: tuple[int, int], offset: float = 0.1
) -> Tensor:
    """Position embeddings for another grid, bicubic and without antialiasing, as DINOv2 does it.

    The authors add 0.1 to the new size before they divide by the old one, and interpolate with
    that scale: positions shift a little, and the weights were evaluated with the shift. timm
    antialiases and has no shift.

    Args:
        embedding: (1, T, C), the T tokens being an optional class token and a square grid.
        grid: Rows and columns wanted.
        offset: What is added to the rows and columns; ImageBind adds 0.

    Returns:
        (1, T', C), the class token's embedding as it was; `embedding` itself if the grid fits.

    Raises:
        WeightsError: The grid is not square.
    """
    tokens, channels = embedding.shape[1:]
    side = math.isqrt(tokens)
    prefix = tokens - side * side
    if prefix > 1:
        raise WeightsError(
            f"The position embedding has {tokens} tokens: expected is a square grid, with or "
            "without a class token."
        )
    if (side, side) == tuple(grid):
        return embedding
    patches = embedding[:, prefix:].float().reshape(1, side, side, channels).permute(0, 3, 1, 2)
    if offset:
        scale = ((grid[0] + offset) / side, (grid[1] + offset) / side)
        patches = F.interpolate(patches, scale_factor=scale, mode="bicubic", antialias=False)
    else:
        patches = F.interpolate(patches, size=tuple(grid), mode="bicubic", antialias=False)
    patches = patches.permute(0, 2, 3, 1).reshape(1, -1, channels)
    return torch.cat([embedding[:, :prefix].float(), patches], dim=1)
