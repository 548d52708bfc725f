"""Residual features: what remains of a patch after its nearest normal reference is taken away."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from adpt.nearest import largest_products, slices

Kind = Literal["own", "residual", "pretrained"]
"""Features that a method sees: the backbone's own, residual, or residual and projected ones."""
KINDS: tuple[Kind, ...] = get_args(Kind)

CHUNK_ELEMENTS = 2**26
"""Similarities held at once where each image has its own references, 256 MB in float32."""


def residual_features(levels: Sequence[Tensor], references: Sequence[Tensor]) -> list[Tensor]:
    """Subtract from each patch feature the reference with the largest cosine similarity.

    Section 3 of ADPretrain (arXiv 2511.05245). The references need no order, and one given twice
    changes nothing. The choice is made in float32 at least, under autocast too: half precision
    cannot tell near references apart.

    Args:
        levels: One (B, C, H, W) tensor a level.
        references: One tensor a level, (R, C) for all images or (B, R, C) for each its own.

    Returns:
        Tensors of the levels' shapes. The gradient of a level is that of its residual; none goes
        to the references.

    Raises:
        ValueError: The references do not fit the levels.
    """
    if len(levels) != len(references):
        raise ValueError(f"{len(levels)} levels, but references for {len(references)}.")
    return [_residual(level, own.detach()) for level, own in zip(levels, references, strict=True)]


@torch.no_grad()
def reference_scale(references: Sequence[Tensor]) -> Tensor:
    """How long residual features of normal images are, judged from the references alone.

    Each reference image's residual is taken against the other references.

    Args:
        references: One (k, T, C) tensor a level, k reference images of T patches; k at least 2.

    Returns:
        (L,) mean norm of the residual features, above 0.

    Raises:
        ValueError: There are fewer than two references.
    """
    count = len(references[0])
    if count < 2:
        raise ValueError("The scale of references needs at least 2 of them.")
    means = []
    for level in references:
        norms = []
        for index in range(count):
            others = torch.cat([level[:index], level[index + 1 :]]).flatten(0, 1)
            image = level[index].T[None, :, :, None]
            norms.append(residual_features([image], [others])[0].float().norm(dim=1).mean())
        means.append(torch.stack(norms).mean())
    return torch.stack(means).clamp(min=1e-6)


def _residual(level: Tensor, references: Tensor) -> Tensor:
    shared = references.ndim == 2
    if (
        references.ndim not in (2, 3)
        or references.shape[-1] != level.shape[1]
        or references.shape[-2] == 0
        or not (shared or len(references) == len(level))
    ):
        raise ValueError(
            f"References of shape {tuple(references.shape)} do not fit a level of shape"
            f" {tuple(level.shape)}: they must be (R, C) or (B, R, C), R at least 1."
        )
    tokens = level.flatten(2).transpose(1, 2)
    precise = torch.promote_types(torch.promote_types(level.dtype, references.dtype), torch.float32)
    # Only the reference's length matters for which is nearest: the patch's own scales all alike.
    directions = F.normalize(references.to(precise), dim=-1)
    index = _nearest(tokens.to(precise), directions)
    if shared:
        matched = references[index]
    else:
        matched = references.gather(1, index.unsqueeze(-1).expand(-1, -1, level.shape[1]))
    return level - matched.to(level.dtype).transpose(1, 2).reshape(level.shape)


@torch.no_grad()
def _nearest(tokens: Tensor, directions: Tensor) -> Tensor:
    with torch.autocast(tokens.device.type, enabled=False):
        if directions.ndim == 2:
            return largest_products(tokens.flatten(0, 1), directions).view(tokens.shape[:2])
        chunks = slices(len(tokens), CHUNK_ELEMENTS // (tokens.shape[1] * directions.shape[1]))
        # Not argmax, which takes longer than max.
        parts = [(tokens[some] @ directions[some].mT).max(-1).indices for some in chunks]
        return torch.cat(parts)
