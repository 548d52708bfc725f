"""The method's formulas once more, word for word: slow loops in float64 to test against."""

import math

import torch
from torch import Tensor


def angle_loss(
    view1: Tensor,
    view2: Tensor,
    anomalous: Tensor,
    centre: Tensor | None = None,
    temperature: float = 0.15,
) -> Tensor:
    """Mean over all 2N anchors of -log(exp(positive) / sum of exp over the other label)."""
    features = [row.double() for view in (view1, view2) for row in view]
    labels = [bool(label) for label in anomalous] * 2
    shifted = [row if centre is None else row - centre.double() for row in features]
    unit = [row / row.dot(row).sqrt() for row in shifted]
    losses = []
    for anchor, row in enumerate(unit):
        positive = unit[(anchor + len(view1)) % len(unit)]
        numerator = (row.dot(positive) / temperature).exp()
        denominator = torch.zeros((), dtype=torch.float64)
        for other, label in zip(unit, labels, strict=True):
            if label != labels[anchor]:
                denominator = denominator + (row.dot(other) / temperature).exp()
        losses.append(-(numerator / denominator).log())
    return torch.stack(losses).mean()


def norm_loss(
    features: Tensor,
    anomalous: Tensor,
    radius: float = 0.4,
    margin: float = 0.75,
    *,
    radius_has_gradient: bool = False,
) -> Tensor:
    """The three terms of the norm loss, patch by patch."""
    scores = [(row.double().dot(row.double()).sqrt() + 1).sqrt() - 1 for row in features]
    labels = [bool(label) for label in anomalous]
    outer = torch.tensor(radius, dtype=torch.float64)
    for score, label in zip(scores, labels, strict=True):
        if label and 0.9 * score < outer:
            outer = 0.9 * (score if radius_has_gradient else score.detach())
    inner, beyond = 0.99 * outer, outer + margin
    too_long, too_short, too_near = [], [], []
    for score, label in zip(scores, labels, strict=True):
        if label and score < beyond:
            too_near.append(_weighted(beyond - score))
        if not label and score > outer:
            too_long.append(_weighted(score - outer))
        if not label and score < inner:
            too_short.append(_weighted(inner - score))
    total = 0 * features.double().sum()
    for term in (too_long, too_short, too_near):
        if term:
            total = total + sum(term) / len(term)
    return total


def _weighted(violation: Tensor) -> Tensor:
    return (1 + violation.exp()).log() * math.exp(violation.item())


def residuals(level: Tensor, references: Tensor) -> Tensor:
    """Each patch of (B, C, H, W) less its nearest of (R, C) or (B, R, C) by cosine similarity."""
    result = level.double().clone()
    for image in range(level.shape[0]):
        own = (references if references.ndim == 2 else references[image]).double()
        for row in range(level.shape[2]):
            for column in range(level.shape[3]):
                patch = level[image, :, row, column].double()
                similarities = [
                    (patch.dot(one) / (patch.dot(patch).sqrt() * one.dot(one).sqrt())).item()
                    for one in own
                ]
                nearest = own[similarities.index(max(similarities))]
                result[image, :, row, column] = patch - nearest
    return result
