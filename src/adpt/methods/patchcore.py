"""PatchCore: distance to the nearest patch in a memory bank."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from adpt.errors import UserError
from adpt.methods.base import Scores, at_least_one, full_precision
from adpt.methods.coreset import greedy_coreset, project
from adpt.methods.fitted import FittedMethod
from adpt.methods.growing import grown_bank
from adpt.methods.left_out import left_out_patches
from adpt.methods.maps import smooth, upsample
from adpt.methods.nearest_patches import NearestPatches, is_exporting
from adpt.methods.neighbourhood import embed_neighbourhoods
from adpt.methods.stacked import stacked

_DIRECTIONS = 192
"""Of the search for what is scored: a graph is fastest with so many, and PyTorch no slower than
with 128."""


class PatchCore(FittedMethod):
    """Score patches by their squared distance to the nearest normal patch in a coreset.

    A patch is described by its 3 × 3 neighbourhood in each of the last levels, brought to the grid
    of the first of them and averaged to `embedding_dim` numbers (PatchCore, arXiv 2106.08265, one
    neighbour and no reweighting of image scores, as in its authors' code).

    How the training images are batched does not change the bank; their order does, through the
    coreset's first point, a random row, and ties. The authors' coreset differs in two ways: they
    draw ten points and start at the farthest from them (`num_starts=10`), and they choose in 128
    random dimensions (`projection_dim=128`), which spreads the bank less evenly.

    A bank bounded by `max_patches` is the first part of the whole one: fitting and scoring take
    less as it is smaller. There is none by default.

    Memory: fitting holds one embedding a training patch (images·h·w·embedding_dim floats); those of
    more than 1 GB lie in a temporary file on a CPU, and with them 129 floats more a patch, so that
    12 bytes a patch stay in memory beside the bank. Embedding takes an image at a time,
    on a GPU chunks of at most 256 MB a tensor, and scoring tiles of 16 MB (`NearestPatches`).

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
        coreset_ratio: Share of the training patches in the bank, above 0, at most 1; rounded down,
            at least one patch.
        max_patches: Patches in the bank at most; None for no bound.
        embedding_dim: Numbers that describe a patch.
        num_levels: How many levels to use, counted from the last; all if there are fewer.
        seed: Seed of the coreset's first point, and of the projection.
        projection_dim: Random dimensions in which the coreset is chosen; None for the patches' own.
        num_starts: Points that the coreset is started from; see `greedy_coreset`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    learned = ("bank",)

    def __init__(
        self,
        image_size: int | Sequence[int] = 224,
        coreset_ratio: float = 0.1,
        embedding_dim: int = 1024,
        *,
        num_levels: int = 3,
        seed: int = 0,
        projection_dim: int | None = None,
        num_starts: int = 1,
        max_patches: int | None = None,
    ) -> None:
        super().__init__(image_size)
        if not 0 < coreset_ratio <= 1:
            raise ValueError(
                f"coreset_ratio is {coreset_ratio}: give a share above 0 and at most 1 (all)."
            )
        at_least_one(embedding_dim=embedding_dim, num_levels=num_levels, num_starts=num_starts)
        at_least_one(projection_dim=projection_dim, max_patches=max_patches)
        self.coreset_ratio, self.max_patches, self.seed = coreset_ratio, max_patches, seed
        self.embedding_dim, self.num_levels = embedding_dim, num_levels
        self.projection_dim, self.num_starts = projection_dim, num_starts
        self._search: NearestPatches | None = None

    def learn(self, batches: Iterable[list[Tensor]]) -> dict[str, Tensor]:
        """Fill the memory bank."""
        patches = stacked(self._embedded(batches))
        with full_precision(patches.device):
            count = self._count(len(patches))
            if count == len(patches):
                return {"bank": patches[:].clone()}
            generator = torch.Generator().manual_seed(self.seed)
            points = patches
            if self.projection_dim is not None:
                points = project(patches, self.projection_dim, generator)
            return {"bank": patches[greedy_coreset(points, count, generator, self.num_starts)]}

    def score(self, levels: list[Tensor]) -> Scores:
        """Maps of squared distances, and each image's largest of a patch; see `Method`.

        Raises:
            UserError: Also if a loaded bank is of another width than `embedding_dim`.
        """
        with self.scoring(levels) as levels:
            bank = self.get_buffer("bank")
            if bank.shape[1] != self.embedding_dim:
                raise UserError(
                    f"PatchCore was made with embedding_dim {self.embedding_dim}, but its bank"
                    f" holds patches of {bank.shape[1]} numbers. Make it as it was fitted."
                )
            patches = self.embed(levels)
            distances = self._search_in(bank).squares(patches.flatten(0, 1))
            grid = levels[-self.num_levels :][0].shape[-2:]
            return self._scores(distances.reshape(patches.shape[0], *grid))

    def left_out_scores(self, batches: Iterable[list[Tensor]]) -> Scores | None:
        """Scores by the bank with an image's own patches replaced by others'; see `Method`.

        Holds one embedding a training patch, as fitting does.
        """
        patches = stacked(self._embedded(self._checked(batches)))
        grid = self._grid()
        with full_precision(patches.device):
            images = len(patches) // (grid[0] * grid[1])
            distances = left_out_patches(patches, images, self.get_buffer("bank"))
            if distances is None:
                return None
            return self._scores(distances.reshape(images, *grid))

    def extend(self, batches: Iterable[list[Tensor]], images: int) -> Scores:
        """A coreset of the bank and the further patches, as large as of all; see `Method`."""
        checked = self.read(batches)
        patches = list(self._embedded(self._checked(checked)))
        grid = self._grid()
        with full_precision(patches[0].device):
            embedded = torch.cat(patches).unflatten(0, (-1, grid[0] * grid[1]))
            total = (images + len(embedded)) * embedded.shape[1]
            generator = torch.Generator().manual_seed(self.seed)
            bank, distances = grown_bank(
                self.get_buffer("bank"), embedded, self._count(total), generator, self.num_starts
            )
            scores = self._scores(distances.reshape(len(embedded), *grid))
        self.remember(checked.shapes, {"bank": bank})
        return scores

    def _embedded(self, batches: Iterable[list[Tensor]]) -> Iterator[Tensor]:
        """Patches (n, embedding_dim) of each batch, image by image."""
        for levels in batches:
            with full_precision(levels[0].device):
                patches = self.embed(levels).flatten(0, 1)
            yield patches

    def _checked(self, batches: Iterable[list[Tensor]]) -> Iterator[list[Tensor]]:
        """Batches that can be scored."""
        for levels in batches:
            with self.scoring(levels) as checked:
                pass
            yield checked

    def _grid(self) -> tuple[int, int]:
        """Rows and columns of patches of an image."""
        _, height, width = self.learned_shapes()[-self.num_levels :][0]
        return height, width

    def _count(self, patches: int) -> int:
        """Patches in the bank of so many in training."""
        # The small excess keeps 0.29 · 100 from counting as 28.
        count = max(1, int(patches * self.coreset_ratio + 1e-6))
        return min(count, self.max_patches or count)

    def _search_in(self, bank: Tensor) -> NearestPatches:
        """The search for patches' nearest in the bank, made once for a bank."""
        if is_exporting() and self._search is not None:
            return self._search  # Of the same bank, whose values are not seen now.
        if torch.compiler.is_compiling():
            return NearestPatches(bank)
        if self._search is None or self._search.points is not bank:
            self._search = NearestPatches(bank, directions=_DIRECTIONS)
        return self._search

    def _scores(self, distances: Tensor) -> Scores:
        """Scores of (B, h, w) squared distances."""
        maps = smooth(upsample(distances, self.image_size, align_corners=False))
        return Scores(maps, distances.amax((1, 2)))

    def embed(self, levels: list[Tensor]) -> Tensor:
        """Patches (B, patches of the first used level, embedding_dim) of float32 levels."""
        return embed_neighbourhoods(levels[-self.num_levels :], self.embedding_dim)
