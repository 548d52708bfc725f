"""AnomalyDINO: distance of directions to the nearest normal patch, without a coreset."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from adpt.methods.base import Scores, at_least_one, full_precision
from adpt.methods.fitted import FittedMethod
from adpt.methods.grids import common_grid, tokens
from adpt.methods.learned import shapes_of
from adpt.methods.maps import smooth, top_mean, upsample
from adpt.nearest import largest_products


class AnomalyDino(FittedMethod):
    """Score patches by their cosine distance to the nearest patch of any normal image.

    AnomalyDINO (arXiv 2405.14529): all patches are kept, each at length 1, and an image's score is
    the mean of the largest hundredth of its patches' distances. It is meant for few normal images
    (`few_shot=true`, `shots`) and the last level of a DINOv2; of several levels the unit vectors
    are joined, so that each level counts alike. Two of its steps look at images and are left out:
    normal images are not turned by multiples of 45°, and no background is masked.

    Memory: 4·N·P·ΣC bytes for N normal images, twice while fitting.

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
        num_levels: How many levels to use, counted from the last; all if there are fewer.

    Raises:
        ValueError: If `num_levels` is not positive.
    """

    learned = ("bank",)

    def __init__(self, image_size: int | Sequence[int] = 224, num_levels: int = 1) -> None:
        super().__init__(image_size)
        at_least_one(num_levels=num_levels)
        self.num_levels = num_levels

    def learn(self, batches: Iterable[list[Tensor]]) -> dict[str, Tensor]:
        """Keep the directions of all patches, image by image."""
        parts = []
        for levels in batches:
            with full_precision(levels[0].device):
                parts.append(self.directions(levels).flatten(0, 1))
        return {"bank": torch.cat(parts)}

    def score(self, levels: list[Tensor]) -> Scores:
        """Maps of cosine distances, and means of each image's largest; see `Method`."""
        with self.scoring(levels) as levels:
            patches = self.directions(levels)
            distances = cosine_distances(patches.flatten(0, 1), self.get_buffer("bank"))
            return self._scores(distances.reshape(patches.shape[0], *self._grid(levels)))

    def left_out_scores(self, batches: Iterable[list[Tensor]]) -> Scores | None:
        """Scores by the other images' patches; see `Method`."""
        bank, found, end = self.get_buffer("bank"), [], 0
        for levels in batches:
            with self.scoring(levels) as checked:
                bank = bank.to(checked[0].device)
                for patches in self.directions(checked):
                    start, end = end, end + len(patches)
                    own = bank.new_zeros(len(bank))
                    own[start:end] = -torch.inf
                    found.append(cosine_distances(patches, bank, own))
        return self._scores(torch.stack(found).reshape(len(found), *self._grid(levels)))

    def _scores(self, distances: Tensor) -> Scores:
        """Scores of (B, h, w) distances."""
        maps = smooth(upsample(distances, self.image_size, align_corners=False))
        return Scores(maps, top_mean(distances))

    def directions(self, levels: list[Tensor]) -> Tensor:
        """Patches (B, P, ΣC) of length 1, on the grid of the levels that is nearest to 16 × 16."""
        used, grid = levels[-self.num_levels :], self._grid(levels)
        joined = torch.cat([F.normalize(tokens(level, grid), dim=2) for level in used], 2)
        unit: Tensor = joined / math.sqrt(len(used))
        return unit

    def _grid(self, levels: list[Tensor]) -> tuple[int, int]:
        return common_grid(shapes_of(levels[-self.num_levels :]))


def cosine_distances(queries: Tensor, bank: Tensor, offsets: Tensor | None = None) -> Tensor:
    """Smallest cosine distances (N,) of (N, C) to (M, C), all of length 1.

    `offsets` (M,) are −inf for those that are left out.
    """
    nearest = bank[largest_products(queries, bank, offsets)]
    # Half the squared difference, which cancels less than 1 less the product.
    return (queries - nearest).square().sum(1) / 2
