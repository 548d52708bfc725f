"""Means over patches that pretraining sets out from: one feature and one norm a level."""

from collections.abc import Sequence

import torch
from torch import Tensor

from adpt.pretraining.patches import rows_of


class PatchSums:
    """Sums of patches, level by level, in float64 on the CPU; each process adds its share.

    Args:
        widths: Channels of each level.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        self.widths = list(widths)
        self.sums = [torch.zeros(width, dtype=torch.float64) for width in widths]
        self.norms = torch.zeros(len(self.sums), dtype=torch.float64)
        self.patches = torch.zeros(len(self.sums), dtype=torch.float64)

    def add(self, levels: Sequence[Tensor], scale: Tensor | None) -> None:
        """Add the patches of a batch.

        Args:
            levels: One (B, C, h, w) tensor a level.
            scale: (B, levels), what patches are divided by once their norms are taken; or nothing.
        """
        for level, features in enumerate(levels):
            rows = rows_of(features).double()
            self.norms[level] += rows.norm(dim=-1).sum().cpu()
            if scale is not None:
                image = scale[:, level].repeat_interleave(len(rows) // len(features))
                rows = rows / image[:, None]
            self.sums[level] += rows.sum(0).cpu()
            self.patches[level] += len(rows)

    def means(self, device: torch.device, world_size: int) -> tuple[list[Tensor], Tensor]:
        """Mean feature of each level (C,), and mean norms (levels,), of all processes."""
        total = torch.cat([*self.sums, self.norms, self.patches]).to(device, torch.float64)
        if world_size > 1:
            torch.distributed.all_reduce(total)
        levels = len(self.widths)
        *sums, norms, patches = total.split([*self.widths, levels, levels])
        return [one / number for one, number in zip(sums, patches, strict=True)], norms / patches
