"""FeatureNorm: a patch is as anomalous as its feature is long."""

from collections.abc import Iterable

import torch
from torch import Tensor

from adpt.methods.base import Method, Scores
from adpt.methods.maps import smooth, upsample


class FeatureNorm(Method):
    """Score patches by A = sqrt(‖x‖ + 1) − 1, the quantity that the norm loss shapes.

    Meant for pretrained residual features, where normal patches are short. Levels of any width and
    grid count equally. Nothing is learned (ADPretrain, arXiv 2511.05245, evaluation).

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
    """

    by_window = False

    def fit(self, batches: Iterable[list[Tensor]]) -> None:
        """Do nothing: `batches` is not read, so that a lazy iterable computes no features."""

    def left_out_scores(self, batches: Iterable[list[Tensor]]) -> Scores:
        """Their scores as they are; see `Method`."""
        return Scores.joined(map(self.score, batches))

    def extend(self, batches: Iterable[list[Tensor]], images: int) -> Scores:
        """Their scores; see `Method`."""
        return self.left_out_scores(batches)

    def score(self, levels: list[Tensor]) -> Scores:
        """Score a batch of images of at least one level; the image score is the map's maximum."""
        with self.scoring(levels) as levels:
            maps = [
                upsample(_length(level), self.image_size, align_corners=True) for level in levels
            ]
            smoothed = smooth(torch.stack(maps).mean(0))
            return Scores(smoothed, smoothed.amax((1, 2)))


def _length(level: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(level, dim=1)
    # sqrt(n + 1) − 1 without the difference that loses small norms.
    return norm / ((norm + 1).sqrt() + 1)
