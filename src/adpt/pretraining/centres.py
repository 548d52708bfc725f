"""Means over patches that pretraining sets out from: one feature and one norm a level."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from adpt.pretraining.patches import rows_of


class PatchMeans(Metric):
    """Mean features and mean norms of patches, level by level, over those of all processes.

    Sums in float64; each process adds its share, and `compute` brings them together.

    Args:
        widths: Channels of each level.
    """

    norms: Tensor
    patches: Tensor

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        levels = len(widths)
        for level, width in enumerate(widths):
            self.add_state(f"sum_{level}", torch.zeros(width, dtype=torch.float64), "sum")
        self.add_state("norms", torch.zeros(levels, dtype=torch.float64), "sum")
        self.add_state("patches", torch.zeros(levels, dtype=torch.float64), "sum")

    def update(self, levels: Sequence[Tensor], scale: Tensor | None) -> None:
        """Add the patches of a batch.

        Args:
            levels: One (B, C, h, w) tensor a level.
            scale: (B, levels), what patches are divided by once their norms are taken; or nothing.
        """
        for level, features in enumerate(levels):
            rows = rows_of(features).double()
            self.norms[level] += rows.norm(dim=-1).sum()
            if scale is not None:
                image = scale[:, level].repeat_interleave(len(rows) // len(features))
                rows = rows / image[:, None]
            getattr(self, f"sum_{level}").add_(rows.sum(0))
            self.patches[level] += len(rows)

    def compute(self) -> tuple[list[Tensor], Tensor]:
        """Mean feature (C,) of each level, and the mean norms (levels,)."""
        sums = (getattr(self, f"sum_{level}") for level in range(len(self.norms)))
        means = [one / number for one, number in zip(sums, self.patches, strict=True)]
        return means, self.norms / self.patches
