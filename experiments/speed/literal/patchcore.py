"""PatchCore's patch descriptions and scores, step by step in the authors' order, in float64."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

Floats = npt.NDArray[np.float64]


def pool(vector: Floats, width: int) -> Floats:
    """Adaptive average pooling: output i averages from floor(i·n/w) up to ceil((i+1)·n/w)."""
    n = len(vector)
    return np.array(
        [vector[i * n // width : -(-(i + 1) * n // width)].mean() for i in range(width)]
    )


def resize(planes: Floats, size: tuple[int, int]) -> Floats:
    """Resize (P, h, w) planes bilinearly."""
    resized = F.interpolate(
        torch.from_numpy(planes)[:, None], size=size, mode="bilinear", align_corners=False
    )
    result: Floats = resized[:, 0].numpy()
    return result


def embedding(levels: Sequence[Tensor], width: int) -> Floats:
    """Describe patches, (B, patches, width): unfold, resize, average, stack, average."""
    images, _, height, grid_width = levels[0].shape
    planes = []
    for level in levels:
        values = level.double().numpy()
        _, channels, h, w = values.shape
        unfolded = np.zeros((images, channels, 9, h, w))
        for y in range(h):
            for x in range(w):
                for k in range(9):
                    yy, xx = y + k // 3 - 1, x + k % 3 - 1
                    if 0 <= yy < h and 0 <= xx < w:
                        unfolded[:, :, k, y, x] = values[:, :, yy, xx]
        resized = resize(unfolded.reshape(-1, h, w), (height, grid_width))
        planes.append(resized.reshape(images, channels * 9, height, grid_width))
    result = np.empty((images, height * grid_width, width))
    for image in range(images):
        for y in range(height):
            for x in range(grid_width):
                pooled = [pool(plane[image, :, y, x], width) for plane in planes]
                result[image, y * grid_width + x] = pool(np.concatenate(pooled), width)
    return result


def nearest_squared_distances(queries: Tensor, bank: Tensor) -> Tensor:
    """(N,): each query against every point of the bank, one after the other."""
    return torch.stack([(query - bank).square().sum(1).min() for query in queries])


def maps(
    patches: Floats, bank: Floats, grid: tuple[int, int], size: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Maps (B, H, W) and image scores (B,) of embedded images (B, patches, D)."""
    smoothed, scores = [], []
    for image in torch.from_numpy(patches):
        distances = nearest_squared_distances(image, torch.from_numpy(bank)).numpy()
        smoothed.append(gaussian_filter(resize(distances.reshape(1, *grid), size)[0], 4))
        scores.append(distances.max())
    return np.stack(smoothed), np.array(scores)
