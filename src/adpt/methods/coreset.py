"""Greedy k-center selection: few points that leave no point far away."""

import torch
from torch import Tensor


def greedy_coreset(
    points: Tensor, count: int, generator: torch.Generator, projection_dim: int = 128
) -> Tensor:
    """Pick points one after the other, each the farthest from those picked before.

    The first is drawn by the generator. Wider points are first mapped to `projection_dim`
    dimensions by a random Gaussian matrix, which keeps distances roughly (Johnson–Lindenstrauss).
    Each pick costs one pass over the mapped points; memory is the mapped points and three numbers a
    point. Another order of the points changes the result only through the first pick and ties.
    (PatchCore, arXiv 2106.08265, algorithm 1.)

    Args:
        points: (N, D), float32.
        count: How many to pick, 1 to N.
        generator: A CPU generator: the same one picks the same on every device, up to rounding.
        projection_dim: Width above which points are mapped.

    Returns:
        (count,) different indices, in the order they were picked.

    Raises:
        ValueError: If count is not between 1 and N.
    """
    total, width = points.shape
    if not 1 <= count <= total:
        raise ValueError(f"count is {count}: pick between 1 and all {total} points.")
    start = torch.randint(total, (1,), generator=generator)
    # Distances do not change when all points move; small coordinates keep more of their digits.
    origin = points.mean(0)
    if width > projection_dim:
        mapping = torch.randn(width, projection_dim, generator=generator) / projection_dim**0.5
        mapping = mapping.to(points)
        points = points @ mapping - origin @ mapping
    else:
        points = points - origin
    lengths = points.square().sum(1)
    nearest = torch.full_like(lengths, torch.inf)
    distances = torch.empty_like(lengths)
    picked = torch.empty(count, dtype=torch.long, device=points.device)
    pick = start.to(points.device)
    for step in range(count):
        # The pick stays a tensor of one index: as a number it would stall the device at every step.
        picked[step : step + 1] = pick
        centre = points.index_select(0, pick).squeeze(0)
        # |x|² − 2 x·c + |c|²
        torch.addmv(lengths, points, centre, alpha=-2, out=distances)
        distances += lengths[pick]
        torch.minimum(nearest, distances, out=nearest)
        nearest.index_fill_(0, pick, -torch.inf)
        pick = nearest.argmax(keepdim=True)
    return picked
