"""Greedy k-center selection, literally and as one plain pass over all points at every pick."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def literal_greedy(points: npt.NDArray[np.float64], count: int, start: int) -> list[int]:
    """Pick the farthest point again and again, every distance computed anew."""
    picked = [start]
    while len(picked) < count:
        best, farthest = -1, -1.0
        for index in range(len(points)):
            near = min(float(np.sum((points[index] - points[other]) ** 2)) for other in picked)
            if index not in picked and near > farthest:
                best, farthest = index, near
        picked.append(best)
    return picked


def plain_greedy(points: Tensor, count: int, start: int, dimensions: int = 128) -> list[int]:
    """Map the points to 128 dimensions by a random matrix, and look at all of them at every pick.

    Points that are not wider than that are left as they are.
    """
    width = points.shape[1]
    if width > dimensions:
        generator = torch.Generator().manual_seed(0)
        points = points @ (torch.randn(width, dimensions, generator=generator) / dimensions**0.5)
    lengths = points.square().sum(1)
    nearest = torch.full_like(lengths, torch.inf)
    picked = [start]
    while len(picked) < count:
        last = picked[-1]
        distances = lengths - 2 * (points @ points[last]) + lengths[last]
        nearest = torch.minimum(nearest, distances)
        nearest[last] = -torch.inf
        picked.append(int(nearest.argmax()))
    return picked
