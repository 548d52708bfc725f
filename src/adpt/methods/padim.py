"""PaDiM: a Gaussian for every patch position."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from adpt.methods.base import Scores, full_precision
from adpt.methods.fitted import FittedMethod
from adpt.methods.growing import merged, recovered
from adpt.methods.left_out import left_out_gaussians
from adpt.methods.maps import smooth, upsample
from adpt.nearest import slices

_CHUNK_BYTES = 2**27


class PaDiM(FittedMethod):
    """Score patches by their Mahalanobis distance to the normal features at their position.

    The covariance is the unbiased one over the training images plus epsilon·I, with all channels
    and all levels (PaDiM, arXiv 2011.08785, without its channel selection). A single training
    image has covariance 0.

    Where there are fewer images n than channels C, the covariance is of low rank plus epsilon·I,
    and never formed. With the centred training features as the rows of X (n × C), the squared
    distance of a feature x is the smallest value, over all weights a of the training images, of

        ‖x − Xᵀa‖² / epsilon + (n − 1)‖a‖²

    (x is some combination of them, plus a rest of variance epsilon in every direction). Both terms
    are squares, so nothing cancels, and as this is a minimum an error of the weights counts only
    squared. L Lᵀ = X Xᵀ + (n − 1)·epsilon·I is factored; L⁻¹X (the basis, C × n) and the weights'
    price √(n − 1)·L⁻ᵀ (the whitening, n × n) are kept. Otherwise the whole covariance is factored
    (C × C). Either is per position and level, factored in float64 and kept in float32.

    Memory: fitting holds the training features (n·C·h·w floats a level, on their device), lets go
    of each level as it becomes state of about the same size, and works in chunks of positions of
    at most 128 MB (or one position). Scoring adds chunks of the same bound.

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
        epsilon: Variance added to every direction, positive.

    Raises:
        ValueError: If epsilon is not positive.
    """

    learned = ("mean", "basis", "whitening")
    by_window = False

    def __init__(self, image_size: int | Sequence[int] = 224, epsilon: float = 0.01) -> None:
        super().__init__(image_size)
        if not epsilon > 0:
            raise ValueError(
                f"epsilon is {epsilon}: it must be positive, for the covariance of few images has "
                "no inverse without it. The method's own value is 0.01."
            )
        self.epsilon = epsilon

    def learn(self, batches: Iterable[list[Tensor]]) -> dict[str, Tensor]:
        """Learn a Gaussian per position and level."""
        by_level = [list(parts) for parts in zip(*batches, strict=True)]
        tensors: dict[str, Tensor] = {}
        with full_precision(by_level[0][0].device):
            for number, parts in enumerate(by_level):
                for name, tensor in self._gaussians([part.flatten(2) for part in parts]).items():
                    tensors[f"{name}_{number}"] = tensor
                parts.clear()
        return tensors

    def score(self, levels: list[Tensor]) -> Scores:
        """Maps of the levels' mean distance, and each map's maximum; see `Method`."""
        with self.scoring(levels) as levels:
            return self._scores(self._distances(*level) for level in enumerate(levels))

    def left_out_scores(self, batches: Iterable[list[Tensor]]) -> Scores:
        """Scores by the Gaussians of the other images, in closed form; see `Method`."""
        with self.scoring([torch.cat(parts) for parts in zip(*batches, strict=True)]) as levels:
            return self._scores(left_out_gaussians(level, self.epsilon) for level in levels)

    def extend(self, batches: Iterable[list[Tensor]], images: int) -> Scores:
        """The Gaussians of all images, as one fit gives them up to rounding; see `Method`."""
        checked = self.read(batches)
        further = [torch.cat(parts) for parts in zip(*checked, strict=True)]
        self.check_fitted(further)
        tensors: dict[str, Tensor] = {}
        distances = []
        with full_precision(further[0].device):
            for number, level in enumerate(further):
                kept = {name: self._buffers.get(f"{name}_{number}") for name in self.learned}
                found, apart = self._with_further(kept, level, images)
                tensors |= {f"{name}_{number}": tensor for name, tensor in found.items()}
                distances.append(apart)
            scores = self._scores(distances)
        self.remember(checked.shapes, tensors)
        return scores

    def _with_further(
        self, kept: Mapping[str, Tensor | None], level: Tensor, images: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """A level's Gaussians of all images, and the left-out distances of the further ones."""
        mean, whitening, basis = kept["mean"], kept["whitening"], kept["basis"]
        if mean is None or whitening is None:
            raise self.no_images()
        if basis is None:
            mean, whitening, distances = merged(mean, whitening, images, level, self.epsilon)
            return {"mean": mean, "whitening": whitening}, distances
        former = recovered(mean, basis, whitening)
        every = torch.cat([former.unflatten(2, level.shape[2:]), level])
        distances = left_out_gaussians(every, self.epsilon)[-len(level) :]
        return self._gaussians([every.flatten(2)]), distances

    def _scores(self, distances: Iterable[Tensor]) -> Scores:
        """Scores of (B, h, w) distances a level."""
        maps = [upsample(level, self.image_size, align_corners=True) for level in distances]
        smoothed = smooth(torch.stack(maps).mean(0))
        return Scores(smoothed, smoothed.amax((1, 2)))

    def _gaussians(self, parts: list[Tensor]) -> dict[str, Tensor]:
        """Factor the covariances of features, (images, C, positions) a part, at each position."""
        images = sum(len(part) for part in parts)
        channels, positions = parts[0].shape[1:]
        rank = min(images, channels)
        low_rank = images < channels
        # Even one image has a spread: none.
        freedom = max(images - 1, 1)
        mean = parts[0].new_empty((positions, channels))
        basis = parts[0].new_empty((positions, rank if low_rank else 0, channels))
        whitening = parts[0].new_empty((positions, rank, rank))
        identity = torch.eye(rank, dtype=torch.float64, device=mean.device)
        bytes_each = 28 * images * channels + 24 * rank * rank
        for chunk in slices(positions, _CHUNK_BYTES // bytes_each):
            centred = _by_position(torch.cat([part[:, :, chunk] for part in parts])).double()
            # As scoring will subtract it: in float32.
            mean[chunk] = centred.mean(1)
            centred -= mean[chunk, None]
            if low_rank:
                spread = centred @ centred.mT
                factor = torch.linalg.cholesky(spread + freedom * self.epsilon * identity)
                basis[chunk] = torch.linalg.solve_triangular(factor, centred, upper=False)
                inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
                whitening[chunk] = inverse.mT * freedom**0.5
            else:
                covariance = centred.mT @ centred / freedom
                factor = torch.linalg.cholesky(covariance + self.epsilon * identity)
                whitening[chunk] = torch.linalg.solve_triangular(factor, identity, upper=False)
        found = {"mean": mean, "whitening": whitening}
        return found | {"basis": basis} if low_rank else found

    def _distances(self, number: int, level: Tensor) -> Tensor:
        """Mahalanobis distances (B, h, w) of a level."""
        images, channels, height, width = level.shape
        mean = self.get_buffer(f"mean_{number}")
        whitening = self.get_buffer(f"whitening_{number}")
        low_rank = f"basis_{number}" in self._buffers
        features = level.flatten(2)
        distances = level.new_empty((images, height * width))
        for chunk in slices(height * width, _CHUNK_BYTES // max(1, 16 * images * channels)):
            inside = _by_position(features[:, :, chunk]) - mean[chunk, None]
            outside = torch.zeros((), device=level.device)
            if low_rank:
                basis = self.get_buffer(f"basis_{number}")[chunk]
                centred, inside = inside, inside @ basis.mT
                outside = (centred - inside @ basis).square().sum(-1) / self.epsilon
            within = (inside @ whitening[chunk].mT).square().sum(-1)
            distances[:, chunk] = (within + outside).sqrt().T
        return distances.reshape(images, height, width)


def _by_position(features: Tensor) -> Tensor:
    """Bring (n, C, positions) features to (positions, n, C), one after the other in memory."""
    images, channels, positions = features.shape
    # As one transposed matrix, which torch copies in blocks; three permuted axes take longer.
    rows = features.reshape(images * channels, positions).T.contiguous()
    return rows.view(positions, images, channels)
