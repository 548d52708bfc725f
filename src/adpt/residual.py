"""Residual features: what remains of a patch after its nearest normal reference is taken away."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK_ELEMENTS = 2**26
"""Similarities held at once, 256 MB in float32."""


@torch.no_grad()
def residual_features(levels: Sequence[Tensor], references: Sequence[Tensor]) -> list[Tensor]:
    """Subtract from each patch feature the reference with the largest cosine similarity.

    Section 3 of ADPretrain (arXiv 2511.05245). The references need no order, and one given twice
    changes nothing.

    Args:
        levels: One (B, C, H, W) tensor a level.
        references: One tensor a level, (R, C) for all images or (B, R, C) for each its own.

    Returns:
        Tensors of the levels' shapes, without gradient.

    Raises:
        ValueError: The references do not fit the levels.
    """
    if len(levels) != len(references):
        raise ValueError(f"{len(levels)} levels, but references for {len(references)}.")
    return [_residual(level, own) for level, own in zip(levels, references, strict=True)]


def _residual(level: Tensor, references: Tensor) -> Tensor:
    shared = references.ndim == 2
    if (
        references.shape[-1] != level.shape[1]
        or references.shape[-2] == 0
        or not (shared or len(references) == len(level))
    ):
        raise ValueError(
            f"References of shape {tuple(references.shape)} do not fit a level of shape"
            f" {tuple(level.shape)}: they must be (R, C) or (B, R, C), R at least 1."
        )
    tokens = level.flatten(2).transpose(1, 2)
    # Only the reference's length matters for which is nearest: the patch's own scales all alike.
    directions = F.normalize(references, dim=-1)
    per_chunk = max(1, CHUNK_ELEMENTS // (tokens.shape[1] * references.shape[-2]))
    nearest = [
        _nearest(rows, directions if shared else directions[start : start + per_chunk])
        for start, rows in zip(
            range(0, len(tokens), per_chunk), tokens.split(per_chunk), strict=True
        )
    ]
    index = torch.cat(nearest)
    if shared:
        matched = references[index]
    else:
        matched = references.gather(1, index.unsqueeze(-1).expand(-1, -1, level.shape[1]))
    return level - matched.to(level.dtype).transpose(1, 2).reshape(level.shape)


def _nearest(tokens: Tensor, directions: Tensor) -> Tensor:
    similarity = tokens.to(directions.dtype) @ directions.transpose(-1, -2)
    return similarity.argmax(-1)
