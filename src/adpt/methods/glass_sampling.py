"""How GLASS makes anomalous features near the border of normal ones, and learns from hard ones.

GLASS: arXiv 2407.09359. Where paper and authors' code differ, the code is
followed.
"""

from collections.abc import Callable

import torch
from torch import Tensor

_TINY = 1e-10
_SMOOTHING = 1e-5
_FOCUS = 2


def ascend(points: Tensor, loss: Callable[[Tensor], Tensor], length: float) -> Tensor:
    """Move each of the points (N, C) a step of the same length up the gradient of a loss.

    The step itself carries no gradient: it is a constant that is added to the points. A point where
    the loss is all but flat moves less. The loss () may depend on all points at once.
    """
    start = points.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(start), start)
    moved: Tensor = points + length * gradient / (gradient.norm(dim=1, keepdim=True) + _TINY)
    return moved


def truncate(
    points: Tensor, origins: Tensor, inner: float | Tensor, outer: float | Tensor
) -> Tensor:
    """Move points (N, C) along the ray from their origins (N, C) into a shell around each.

    A point whose distance is allowed stays, and so does one that lies on its origin.
    """
    offsets = points - origins
    distances = offsets.norm(dim=1, keepdim=True)
    moved: Tensor = origins + offsets * (distances.clamp(inner, outer) / (distances + _TINY))
    return moved


def hard_focal_loss(scores: Tensor, anomalous: Tensor, dropped: float) -> Tensor:
    """Mean focal loss () of those patches that are scored worst.

    Args:
        scores: (N,) probabilities of being anomalous.
        anomalous: (N,) bool.
        dropped: Share of the patches, those scored best, that do not count; 0 to 1.
    """
    target = anomalous.to(scores)
    error = (scores.detach() - target).square()
    hard = error >= torch.quantile(error, dropped)
    right = torch.where(anomalous, scores, 1 - scores)[hard]
    # The authors blend in a little of the wrong class, and add as much again against log 0.
    right = right * (1 - _SMOOTHING) + (1 - right) * _SMOOTHING + _SMOOTHING
    return -((1 - right) ** _FOCUS * right.log()).mean()
