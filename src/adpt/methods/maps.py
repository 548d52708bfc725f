"""From scores of patches to smooth score maps."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA = 4.0
"""Standard deviation of the Gaussian that smooths score maps, in pixels (all methods here)."""

_TRUNCATE = 4.0


def upsample(scores: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    """(B, h, w) scores resized bilinearly to `size`, (B, H, W).

    With `align_corners` the corner patches' centres lie on the corner pixels' centres.
    """
    if torch.compiler.is_compiling() and scores.dtype == torch.float64 and align_corners:
        # onnxruntime resizes no doubles.
        rows, columns = map(_corner_weights, size, scores.shape[-2:])
        return rows.to(scores) @ scores @ columns.to(scores).T
    return F.interpolate(
        scores[:, None], size=size, mode="bilinear", align_corners=align_corners
    ).squeeze(1)


def _corner_weights(size: int, count: int) -> Tensor:
    """(size, count): the share of each of `count` patches in each pixel."""
    places = torch.arange(size, dtype=torch.float64) * ((count - 1) / max(1, size - 1))
    return (1 - (places[:, None] - torch.arange(count)).abs()).clamp_min(0)


def top_mean(scores: Tensor) -> Tensor:
    """Mean (B,) of the largest hundredth of each image's scores (B, ...), at least of one."""
    flat = scores.flatten(1)
    return flat.topk(max(1, int(flat.shape[1] * 0.01)), 1).values.mean(1)


def smooth(maps: Tensor, sigma: float = SIGMA, radius: int | None = None) -> Tensor:
    """Blur maps (B, H, W) as `scipy.ndimage.gaussian_filter` does by default, a batch at a time.

    The border is mirrored with its edge pixel repeated and the kernel ends at `radius` pixels, or
    4 σ. As one matrix per axis the filter stays exact for maps smaller than the kernel, and off the
    convolutions that may run in TF32.
    """
    rows, columns = (_blur_matrix(side, sigma, radius).to(maps) for side in maps.shape[-2:])
    return rows @ maps @ columns.T


@lru_cache(maxsize=8)
def _blur_matrix(side: int, sigma: float, radius: int | None) -> Tensor:
    with torch.inference_mode(False):
        radius = int(_TRUNCATE * sigma + 0.5) if radius is None else radius
        offset = torch.arange(-radius, radius + 1)
        kernel = torch.exp(-0.5 * (offset.double() / sigma) ** 2)
        position = torch.arange(side)[:, None]
        source = (position + offset) % (2 * side)
        source = torch.where(source < side, source, 2 * side - 1 - source)
        matrix = torch.zeros(side, side, dtype=torch.float64)
        return matrix.scatter_add_(1, source, (kernel / kernel.sum()).expand(side, -1))
