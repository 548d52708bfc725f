"""Patch features in the plane (t-SNE), to see whether anomalous patches stand apart."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from adpt.errors import UserError
from adpt.results.npz_file import load_arrays, save_arrays, unreadable

POINTS = 2000
"""Patches in a picture: more take minutes and hide one another."""

_LEAST_ANOMALOUS = 0.25
_COMPONENTS = 50
_PERPLEXITY = 30.0
_KIND = "a t-SNE layout"
_LABELS = "anomalous"

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Embedding:
    """The same patches in the plane, once for each kind of features.

    Attributes:
        points: Kind of features to (M, 2) float32 coordinates; only near and far mean something,
            and only within one kind.
        anomalous: (M,) bool.
    """

    points: dict[str, Floats]
    anomalous: Bools


def embed(kinds: Mapping[str, Tensor], masks: Tensor, seed: int, points: int = POINTS) -> Embedding:
    """Lay out patch features by t-SNE, after PCA to 50 dimensions.

    A patch counts as anomalous if the mask covers more than half of it, and as normal if it covers
    nothing of it; those on the edge of a defect are left out. Of more than `points` patches some
    are drawn, the same for all kinds: anomalous ones by their share, but up to a quarter of the
    points where they are rarer.

    Args:
        kinds: Kind of features to one level of them, (N, C, h, w); all of the same images.
        masks: (N, H, W) bool; H and W are 0 where nobody marked the defects.
        seed: Decides which patches are drawn, and the layout.
        points: At most so many.

    Raises:
        UserError: Nobody marked the defects.
        ValueError: Features or masks of different images or sizes, or fewer than 5 patches.
    """
    if masks.shape[-1] == 0:
        raise UserError(
            "t-SNE tells normal from anomalous patches by masks, and there are none: leave tsne"
            " out."
        )
    sizes = {(len(level), *level.shape[2:]) for level in kinds.values()}
    if len(sizes) != 1 or len(masks) != next(iter(sizes))[0]:
        raise ValueError(f"features and masks are of the same images; got {sizes}, {masks.shape}")
    chosen, anomalous = _sample(masks, next(iter(sizes))[1:], seed, points)
    if len(chosen) < 5:
        raise ValueError(f"t-SNE needs at least 5 patches, got {len(chosen)}")
    image, row, column = np.unravel_index(chosen, next(iter(sizes)))
    rows = {kind: level[image, :, row, column].float() for kind, level in kinds.items()}
    return Embedding({kind: _layout(values, seed) for kind, values in rows.items()}, anomalous)


def save_embedding(path: Path, embedding: Embedding) -> None:
    """Write a file, whole or not at all.

    Raises:
        UserError: It could not be written.
    """
    save_arrays(path, {_LABELS: embedding.anomalous, **embedding.points})


def load_embedding(path: Path) -> Embedding:
    """Read a file that `save_embedding` wrote.

    Raises:
        UserError: It is missing or damaged.
    """
    points = load_arrays(path, _KIND)
    try:
        return Embedding(anomalous=points.pop(_LABELS), points=points)
    except KeyError as error:
        raise unreadable(path, _KIND, error) from error


def _sample(
    masks: Tensor, grid: tuple[int, ...], seed: int, points: int
) -> tuple[npt.NDArray[np.int64], Bools]:
    covered = F.adaptive_avg_pool2d(masks[:, None].float(), (grid[0], grid[1])).flatten().numpy()
    anomalous, normal = np.flatnonzero(covered > 0.5), np.flatnonzero(covered == 0)
    share = len(anomalous) / max(1, len(anomalous) + len(normal))
    wanted = min(len(anomalous), round(points * max(share, _LEAST_ANOMALOUS)))
    generator = np.random.default_rng(seed)
    taken = [
        generator.permutation(patches)[:count]
        for patches, count in ((normal, points - wanted), (anomalous, wanted))
    ]
    # In the order of the images: no kind covers all the rest.
    chosen = np.sort(np.concatenate(taken))
    return chosen, covered[chosen] > 0.5


def _layout(rows: Tensor, seed: int) -> Floats:
    from sklearn.manifold import TSNE

    left, scales, _ = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    reduced = (left * scales)[:, :_COMPONENTS].numpy()
    # Starting from the two main directions keeps the large structure; scaled as scikit-learn's
    # own start, which fails on features without any spread.
    start = np.zeros((len(rows), 2), np.float32)
    start[:, : reduced.shape[1]] = reduced[:, :2]
    start *= 1e-4 / max(float(start[:, 0].std()), 1e-12)
    perplexity = min(_PERPLEXITY, math.ceil((len(rows) - 1) / 3))
    plane: Floats = TSNE(init=start, perplexity=perplexity, random_state=seed).fit_transform(
        reduced
    )
    return plane.astype(np.float32)
