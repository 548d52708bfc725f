"""PaDiM with the whole covariance and its inverse at every position, scored image by image."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

Floats = npt.NDArray[np.float64]
Gaussian = tuple[Floats, Floats]


def fit(train: Tensor, epsilon: float = 0.01) -> Gaussian:
    """Means (h, w, C) and inverse covariances (h, w, C, C) of a level's features (n, C, h, w)."""
    images, channels, height, width = train.shape
    means = np.empty((height, width, channels))
    inverses = np.empty((height, width, channels, channels))
    for y in range(height):
        for x in range(width):
            sample = train[:, :, y, x].double().numpy()
            means[y, x] = sample.mean(0)
            centred = sample - means[y, x]
            covariance = centred.T @ centred / max(images - 1, 1)
            inverses[y, x] = np.linalg.inv(covariance + epsilon * np.eye(channels))
    return means, inverses


def distances(test: Tensor, gaussian: Gaussian) -> Floats:
    """Mahalanobis distances (B, h, w) of a level's features (B, C, h, w)."""
    means, inverses = gaussian
    images, _, height, width = test.shape
    result = np.empty((images, height, width))
    for image in range(images):
        features = test[image].double().numpy()
        for y in range(height):
            for x in range(width):
                difference = features[:, y, x] - means[y, x]
                result[image, y, x] = np.sqrt(difference @ inverses[y, x] @ difference)
    return result


def maps(levels: Sequence[Floats], size: tuple[int, int]) -> Floats:
    """Score maps (B, H, W) from the levels' distances: upsampled, averaged, smoothed."""
    smoothed = []
    for image in range(len(levels[0])):
        raised = [
            F.interpolate(
                torch.from_numpy(level[None, image : image + 1]),
                size=size,
                mode="bilinear",
                align_corners=True,
            )[0, 0].numpy()
            for level in levels
        ]
        smoothed.append(gaussian_filter(np.mean(raised, axis=0), 4))
    return np.stack(smoothed)


def literal_maps(
    train: Sequence[Tensor], test: Sequence[Tensor], size: tuple[int, int], epsilon: float = 0.01
) -> Floats:
    """Fit and score."""
    gaussians = [fit(level, epsilon) for level in train]
    return maps([distances(level, one) for level, one in zip(test, gaussians, strict=True)], size)
