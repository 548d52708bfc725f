"""FeatureNorm: a patch is as anomalous as its feature is long."""

from collections.abc import Iterable

import torch
from torch import Tensor

from adpt.errors import UserError
from adpt.methods.base import Method, Scores, full_precision
from adpt.methods.maps import smooth, upsample


class FeatureNorm(Method):
    """Score patches by A = sqrt(‖x‖ + 1) − 1, the quantity that the norm loss shapes.

    Meant for pretrained residual features, where normal patches are short. Levels of any width and
    grid count equally. Nothing is learned (ADPretrain, arXiv 2511.05245, evaluation).

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
    """

    def fit(self, batches: Iterable[list[Tensor]]) -> None:
        """Do nothing: a norm needs no training, and `batches` is not read.

        Args:
            batches: Not read, so that a lazy iterable computes no features.
        """

    def score(self, levels: list[Tensor]) -> Scores:
        """Score a batch of images.

        Args:
            levels: One (B, C, h, w) tensor a level, at least one.

        Returns:
            Maps (B, H, W), at least 0, and each map's maximum (B,).

        Raises:
            UserError: If there is no level.
        """
        if not levels:
            raise UserError(
                "FeatureNorm was given no levels; it takes one (B, C, h, w) tensor a level. "
                "Pass a backbone's levels as they are."
            )
        with full_precision(levels[0].device):
            maps = [
                upsample(_length(level.float()), self.image_size, align_corners=True)
                for level in levels
            ]
            smoothed = smooth(torch.stack(maps).mean(0))
            return Scores(smoothed, smoothed.amax((1, 2)))


def _length(level: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(level, dim=1)
    # sqrt(n + 1) − 1 without the difference that loses small norms.
    return norm / ((norm + 1).sqrt() + 1)
