"""One step of pretraining: references encoded anew, images matched one by one, losses spelt out."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Levels = list[Tensor]


def step(
    backbone: Callable[[Tensor], Levels],
    projector: nn.Module,
    optimizer: torch.optim.Optimizer,
    views: tuple[Tensor, Tensor],
    masks: Tensor,
    references: Sequence[Tensor],
    centres: Sequence[Tensor],
) -> Tensor:
    """Take one optimiser step and give its loss.

    Args:
        backbone: Images (B, 3, H, W) to levels (B, C, h, w), frozen.
        projector: Levels to levels.
        optimizer: Over the projector.
        views: Two views of the images, (B, 3, H, W) each.
        masks: (B, H, W), non-zero on defects.
        references: For each image its k reference images, (k, 3, H, W).
        centres: (C,) a level.
    """
    optimizer.zero_grad()
    total = loss(backbone, projector, views, masks, references, centres)
    total.backward()
    optimizer.step()
    return total.detach()


def loss(
    backbone: Callable[[Tensor], Levels],
    projector: nn.Module,
    views: tuple[Tensor, Tensor],
    masks: Tensor,
    references: Sequence[Tensor],
    centres: Sequence[Tensor],
) -> Tensor:
    """The sum of both losses over all levels; arguments as in `step`."""
    with torch.no_grad():
        levels = [backbone(view) for view in views]
        encoded = [backbone(images) for images in references]
    first, second = (projector(residuals(view, encoded)) for view in levels)
    total = torch.zeros(())
    for one, other, centre in zip(first, second, centres, strict=True):
        grid = one.shape[-2:]
        covered = F.avg_pool2d(masks[:, None].float(), masks.shape[-1] // grid[1]).flatten()
        covered = covered * (masks.shape[-1] // grid[1]) ** 2 > 32
        touched = F.interpolate(masks[:, None].float(), grid, mode="nearest").flatten() > 0
        rows = [view.permute(0, 2, 3, 1).reshape(-1, view.shape[1]) for view in (one, other)]
        total = total + angle_loss(rows[0], rows[1], covered, centre)
        total = total + norm_loss(rows[0], touched) + norm_loss(rows[1], touched)
    return total


def residuals(levels: Levels, references: Sequence[Levels]) -> Levels:
    """Each image's features less their nearest among its own references', image by image."""
    found = []
    for number, level in enumerate(levels):
        images = []
        for image, own in zip(level, references, strict=True):
            channels, height, width = image.shape
            tokens = image.permute(1, 2, 0).reshape(-1, channels)
            candidates = own[number].permute(0, 2, 3, 1).reshape(-1, channels)
            similarity = F.normalize(tokens, dim=1) @ F.normalize(candidates, dim=1).T
            residual = tokens - candidates[similarity.argmax(1)]
            images.append(residual.reshape(height, width, channels).permute(2, 0, 1))
        found.append(torch.stack(images))
    return found


def angle_loss(view1: Tensor, view2: Tensor, anomalous: Tensor, centre: Tensor) -> Tensor:
    """The angle loss of patches (N, C), normal against anomalous and anomalous against normal."""
    if not anomalous.any():
        return view1.sum() * 0
    first, second = (F.normalize(view - centre, dim=-1) for view in (view1, view2))
    directions, labels = torch.cat([first, second]), torch.cat([anomalous, anomalous])
    normal, defective = directions[~labels], directions[labels]
    positive = torch.exp((first * second).sum(-1) / 0.15).repeat(2)
    of_normal = torch.exp(normal @ defective.T / 0.15).sum(-1)
    of_defective = torch.exp(defective @ normal.T / 0.15).sum(-1)
    losses = [
        -torch.log(positive[~labels] / of_normal),
        -torch.log(positive[labels] / of_defective),
    ]
    return torch.cat(losses).mean()


def norm_loss(features: Tensor, anomalous: Tensor) -> Tensor:
    """The norm loss of patches (N, C) of one view."""
    score = torch.sqrt(features.norm(dim=1) + 1) - 1
    normal, defective = score[~anomalous], score[anomalous]
    outer = min(0.9 * defective.min().item(), 0.4) if len(defective) else 0.4
    inner, boundary = 0.99 * outer, outer + 0.75
    violations = [
        normal[normal > outer] - outer,
        inner - normal[normal < inner],
        boundary - defective[defective < boundary],
    ]
    total = features.sum() * 0
    for violation in violations:
        if len(violation):
            weight = torch.exp(violation).detach()
            total = total + torch.mean(-F.logsigmoid(-violation) * weight)
    return total
