"""Contrast over norms: normal patches lie in a thin shell, anomalous ones well outside it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LARGEST_EXPONENT = 40
"""Weights stop growing at exp(40): from norms of some 1,700 on, their squares, and beyond 8,000
they themselves, would overflow float32, and Adam's second moment with them for good."""


def norm_score(features: Tensor) -> Tensor:
    """A(x) = sqrt(‖x‖ + 1) - 1, the compressed norm that the loss and FeatureNorm measure.

    Args:
        features: (..., C).

    Returns:
        (...), at least 0.
    """
    score: Tensor = (torch.linalg.vector_norm(features, dim=-1) + 1).sqrt() - 1
    return score


class NormContrastiveLoss(nn.Module):
    """Keep A(x) of normal patches between two radii, of anomalous ones beyond a margin.

    The outer radius is min(0.9·min A over anomalous, `radius`), the inner one 0.99 of it, and
    anomalous patches are pushed beyond outer + `margin`. Each term is a softplus weighted by the
    exponential of its own violation, which carries no gradient. Follows the authors' code of
    ADPretrain (arXiv 2511.05245).

    Args:
        radius: Largest outer radius, in units of A; above 0.
        margin: Distance between the outer radius and where anomalous patches belong; at least 0.

    Raises:
        ValueError: `radius` or `margin` is out of its range.
    """

    term = "norm"

    def __init__(self, radius: float = 0.4, margin: float = 0.75) -> None:
        super().__init__()
        if radius <= 0 or margin < 0:
            raise ValueError(
                f"radius is {radius} and margin {margin}: radius must be above 0, margin at least"
                " 0."
            )
        self.radius, self.margin = radius, margin

    def forward(self, features: Tensor, anomalous: Tensor) -> Tensor:
        """Compute the loss of one level and view.

        Args:
            features: (N, C) features of the patches.
            anomalous: (N,), non-zero for anomalous patches.

        Returns:
            () loss in float32, at least 0.
        """
        with torch.autocast(features.device.type, enabled=False):
            length = norm_score(features.float())
            anomalous = anomalous.bool()
            smallest = length.detach().masked_fill(~anomalous, torch.inf)
            outer = torch.cat([0.9 * smallest, length.new_tensor([self.radius])]).amin()
            inner, beyond = 0.99 * outer, outer + self.margin
            return (
                _weighted_softplus(length - outer, ~anomalous & (length > outer))
                + _weighted_softplus(inner - length, ~anomalous & (length < inner))
                + _weighted_softplus(beyond - length, anomalous & (length < beyond))
            )


def _weighted_softplus(violation: Tensor, where: Tensor) -> Tensor:
    """Mean over `where` of softplus(v)·sg[exp(v)]; 0, attached to the graph, where it is empty."""
    loss = F.softplus(violation) * violation.detach().clamp(max=LARGEST_EXPONENT).exp()
    return (loss * where).sum() / where.sum().clamp(min=1)
