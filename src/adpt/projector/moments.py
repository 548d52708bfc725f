"""A linear projector in closed form, from second moments of residual features."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adpt.projector.projector import FeatureProjector


class ResidualMoments(nn.Module):
    """Second moments of patches: of normal residuals, and of anomalous ones.

    Sums over images, each with a weight of its own and with the mean over its patches, so that
    neither a product with many images nor a defect of many patches counts for more. They are
    buffers, in float64: sums of several processes may be added.

    Args:
        channels: One width a level.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        for level, width in enumerate(channels):
            for name in ("normal", "anomalous"):
                zero = torch.zeros(width, width, dtype=torch.float64)
                self.register_buffer(f"{name}_{level}", zero)
                self.register_buffer(f"{name}_weight_{level}", zero.new_zeros(()))

    def add(self, name: str, level: int, patches: Tensor, weight: float) -> None:
        """Add the patches (N, C) of one image; nothing where there are none.

        Args:
            name: "normal" or "anomalous".
            level: Counted from 0.
            patches: (N, C).
            weight: Of the image.
        """
        if len(patches):
            rows = patches.float()
            moment = (rows.T @ rows / len(rows)).double()
            self.get_buffer(f"{name}_{level}").add_(moment, alpha=weight)
            self.get_buffer(f"{name}_weight_{level}").add_(weight)

    def mean(self, name: str, level: int) -> Tensor:
        """(C, C) float64, the weighted mean over the images; 0 where there was none."""
        weight = self.get_buffer(f"{name}_weight_{level}").clamp(min=1e-12)
        return self.get_buffer(f"{name}_{level}") / weight


def loudness(normal: Tensor, anomalous: Tensor, power: float, shrinkage: float) -> Tensor:
    """How much louder each direction is on anomalous patches: (N^(-1/2) A N^(-1/2))^power.

    Args:
        normal: (C, C) second moment N of normal residuals.
        anomalous: (C, C) second moment A of anomalous ones.
        power: How much it counts; with 0 all directions are alike.
        shrinkage: Share of N that is replaced by the multiple of the identity of its trace.

    Returns:
        (C, C), symmetric; the identity where anomalous patches are as normal ones.
    """
    size = normal.diagonal().mean().clamp(min=1e-12)
    round_ = size * torch.eye(len(normal), dtype=normal.dtype, device=normal.device)
    whitening = _power(normal.lerp(round_, shrinkage), -0.5)
    return _power(whitening @ anomalous @ whitening, power)


def _power(matrix: Tensor, power: float) -> Tensor:
    """A power of a symmetric matrix, no eigenvalue of which counts as under 1/1000 of their mean.

    Few patches leave directions of none at all, where there is nothing but rounding.
    """
    values, vectors = torch.linalg.eigh(matrix)
    raised: Tensor = vectors * values.clamp(min=1e-3 * values.mean()) ** power @ vectors.T
    return raised


@torch.no_grad()
def fill(
    projector: FeatureProjector,
    moments: ResidualMoments,
    lengths: Sequence[float],
    power: float,
    shrinkage: float,
) -> None:
    """Make `loudness` the matrices of a projector that was started at the identity.

    Args:
        projector: Of block "linear".
        moments: Of residuals in units of the scale that the projector divides by.
        lengths: Root mean square of a projected normal patch, one a level.
        power: See `loudness`.
        shrinkage: See `loudness`.

    Raises:
        ValueError: There is a level on which no patch is anomalous, or none is normal.
    """
    for level, length in enumerate(lengths):
        normal, anomalous = (moments.mean(name, level) for name in ("normal", "anomalous"))
        if not (normal.any() and anomalous.any()):
            raise ValueError(f"level {level + 1} has no normal or no anomalous patch")
        matrix = loudness(normal, anomalous, power, shrinkage)
        matrix *= length / (matrix @ normal @ matrix).trace().sqrt()
        projector.get_parameter(f"blocks.{level}.linear.weight").copy_(matrix)
