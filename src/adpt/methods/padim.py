"""PaDiM: a Gaussian for every patch position."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from adpt.methods.base import Scores, full_precision
from adpt.methods.fitted import FittedMethod
from adpt.methods.maps import smooth, upsample

_CHUNK_BYTES = 2**28


class PaDiM(FittedMethod):
    """Score patches by their Mahalanobis distance to the normal features at their position.

    The covariance is the unbiased one over the training images plus epsilon·I, with all channels
    and all levels (PaDiM, arXiv 2011.08785, without its channel selection). A single training
    image has covariance 0.

    Where there are fewer images n than channels C, an orthonormal basis of the training features'
    span (C × n) and the covariance within it hold all there is: outside of it every direction has
    variance epsilon. Otherwise the whole covariance is factored (C × C). Either is per position
    and level, float32.

    Memory: fitting holds the training features (n·C·h·w floats a level, on their device), lets go
    of each level as it becomes state of about the same size, and works in chunks of positions of
    at most 256 MB (or one position). Scoring adds chunks of the same bound.

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
        epsilon: Variance added to every direction, positive.

    Raises:
        ValueError: If epsilon is not positive.
    """

    learned = ("mean", "basis", "whitening")

    def __init__(self, image_size: int | Sequence[int] = 224, epsilon: float = 0.01) -> None:
        super().__init__(image_size)
        if not epsilon > 0:
            raise ValueError(
                f"epsilon is {epsilon}: it must be positive, for the covariance of few images has "
                "no inverse without it. The method's own value is 0.01."
            )
        self.epsilon = epsilon

    def fit(self, batches: Iterable[list[Tensor]]) -> None:
        """Learn a Gaussian per position and level.

        Args:
            batches: Batches of normal images' levels, each (B, C, h, w); read once.

        Raises:
            UserError: If there is no image, levels differ between batches, or values are not
                finite.
        """
        gathered = list(self.read(batches))
        if not gathered:
            raise self.no_images()
        shapes = [tuple(level.shape[1:]) for level in gathered[0]]
        by_level = [list(parts) for parts in zip(*gathered, strict=True)]
        del gathered
        tensors: dict[str, Tensor] = {}
        with full_precision(by_level[0][0].device):
            for number in range(len(by_level)):
                features = torch.cat(by_level[number]).flatten(2)
                by_level[number].clear()
                for name, tensor in self._gaussians(features).items():
                    tensors[f"{name}_{number}"] = tensor
            self.remember(shapes, tensors)

    def score(self, levels: list[Tensor]) -> Scores:
        """Score a batch of images.

        Args:
            levels: One (B, C, h, w) tensor a level, as fitted.

        Returns:
            Maps (B, H, W), the mean of the levels' distances, and each map's maximum (B,).

        Raises:
            UserError: If nothing was fitted or the levels are not of the fitted shapes.
        """
        self.check_fitted(levels)
        with full_precision(levels[0].device):
            maps = [
                upsample(self._distances(number, level), self.image_size, align_corners=True)
                for number, level in enumerate(levels)
            ]
            smoothed = smooth(torch.stack(maps).mean(0))
            return Scores(smoothed, smoothed.amax((1, 2)))

    def _gaussians(self, features: Tensor) -> dict[str, Tensor]:
        """Factor the covariances of (n, C, positions) features, position by position."""
        images, channels, positions = features.shape
        rank = min(images, channels)
        low_rank = images < channels
        numbers = 28 * images * channels + 24 * rank * rank
        mean = features.new_empty((positions, channels), dtype=torch.float64)
        basis = features.new_empty((positions, channels, rank if low_rank else 0))
        whitening = features.new_empty((positions, rank, rank))
        identity = torch.eye(rank, dtype=torch.float64, device=features.device)
        for chunk in _chunks(positions, numbers):
            centred = features[:, :, chunk].permute(2, 0, 1).double()
            mean[chunk] = centred.mean(1)
            centred -= mean[chunk, None]
            if low_rank:
                basis[chunk] = torch.linalg.qr(centred.float().mT).Q
                centred = centred @ basis[chunk].double()
            # Even one image has a spread: none.
            covariance = centred.mT @ centred / max(images - 1, 1)
            factor = torch.linalg.cholesky(covariance + self.epsilon * identity)
            whitening[chunk] = torch.linalg.solve_triangular(factor, identity, upper=False).float()
        found = {"mean": mean, "whitening": whitening}
        return found | {"basis": basis} if low_rank else found

    def _distances(self, number: int, level: Tensor) -> Tensor:
        """Mahalanobis distances (B, h, w) of a level."""
        images, channels, height, width = level.shape
        mean = self.get_buffer(f"mean_{number}")
        whitening = self.get_buffer(f"whitening_{number}")
        low_rank = f"basis_{number}" in self._buffers
        features = level.flatten(2)
        distances = level.new_empty((images, height * width), dtype=torch.float32)
        for chunk in _chunks(height * width, 24 * images * channels):
            inside = features[:, :, chunk].permute(2, 0, 1).double()
            inside = (inside - mean[chunk, None]).float()
            outside = torch.zeros((), device=level.device)
            if low_rank:
                basis = self.get_buffer(f"basis_{number}")[chunk]
                centred, inside = inside, inside @ basis
                # The rest is formed before it is squared: the difference of the two squared
                # lengths would be all rounding error for features near the training images.
                rest = centred - inside @ basis.mT
                outside = rest.square().sum(-1) / self.epsilon
            within = (inside @ whitening[chunk].mT).square().sum(-1)
            distances[:, chunk] = (within + outside).sqrt().T
        return distances.reshape(images, height, width)


def _chunks(positions: int, bytes_each: int) -> list[slice]:
    step = max(1, _CHUNK_BYTES // max(bytes_each, 1))
    return [slice(start, start + step) for start in range(0, positions, step)]
