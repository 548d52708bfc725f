"""Patches of a step: one row each, which are anomalous, and how well the two kinds are told."""

import torch
from torch import Tensor
from torch.nn import functional as F


def rows_of(level: Tensor) -> Tensor:
    """(B, C, H, W) to one row a patch, (B·H·W, C)."""
    return level.movedim(1, -1).flatten(0, -2)


def patch_labels(masks: Tensor, grid: torch.Size | tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Which patches are anomalous, for the angle and for the norm loss (method of ADPretrain, §4).

    Args:
        masks: (B, H, W) bool.
        grid: Height and width of the level.

    Returns:
        (B·h·w,) bool each. For the angle: more than 32 pixels of the patch, or 32/196 of it where
        patches are smaller than the authors' 14x14. For the norm: the mask at the patch, by
        nearest neighbour.
    """
    values = masks[:, None].float()
    area = masks.shape[-2] * masks.shape[-1] / (grid[0] * grid[1])
    covered = F.adaptive_avg_pool2d(values, (grid[0], grid[1])) * area
    touched = F.interpolate(values, size=tuple(grid), mode="nearest") > 0
    # Half a pixel of slack: the averages are not exact.
    threshold = min(32.0, area * 32 / 196)
    return (covered > threshold + min(0.5, threshold / 64)).flatten(), touched.flatten()


@torch.no_grad()
def separation(
    features: Tensor, anomalous: Tensor, centre: Tensor, number: int
) -> dict[str, Tensor]:
    """Mean norms of normal and anomalous patches, and the angle in degrees between their means."""
    figures = {}
    means = []
    for name, where in (("normal", ~anomalous), ("anomalous", anomalous)):
        if where.any():
            chosen = features[where].float()
            figures[f"norm/{name}_{number}"] = chosen.norm(dim=-1).mean()
            means.append(F.normalize(F.normalize(chosen - centre, dim=-1).mean(0), dim=0))
    if len(means) == 2:
        cosine = (means[0] * means[1]).sum().clamp(-1, 1)
        figures[f"angle/normal_to_anomalous_{number}"] = cosine.arccos().rad2deg()
    return figures
