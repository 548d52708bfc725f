"""Scores and labels as NumPy arrays, with what cannot be measured refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = Tensor | npt.NDArray[Any]
Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]
Maps = Floats | Sequence[Floats]
"""(H, W) an image: of one size as one array (N, H, W), or one by one."""
Masks = Bools | Sequence[Bools]


def maps_and_masks(maps: Array, masks: Array) -> tuple[Floats, Bools]:
    """Maps and masks, both (N, H, W).

    Raises:
        ValueError: Shapes that are not these, maps without pixels, NaN or infinite scores.
    """
    shape, other = tuple(maps.shape), tuple(masks.shape)
    if shape != other or len(shape) != 3:
        raise ValueError(
            f"maps have shape {shape} and masks {other}: give both as (N, H, W); squeeze out a "
            "channel dimension, and resize the maps to the masks."
        )
    if shape[1] * shape[2] == 0:
        raise ValueError(f"maps and masks of shape {shape} have no pixels: give H and W above 0.")
    return finite_scores(maps, "maps"), labels_of(masks)


def scores_and_labels(scores: Array, labels: Array) -> tuple[Floats, Bools]:
    """Scores and labels of one shape.

    Raises:
        ValueError: Shapes that don't match, NaN or infinite scores.
    """
    if tuple(scores.shape) != tuple(labels.shape):
        raise ValueError(
            f"scores have shape {tuple(scores.shape)} and labels {tuple(labels.shape)}: "
            "give one label a score."
        )
    return finite_scores(scores, "scores"), labels_of(labels)


def finite_scores(values: Array, name: str) -> Floats:
    """Scores in float32 or float64; a ValueError says how many are not finite, and the first."""
    if isinstance(values, Tensor):
        values = values.detach()
        # NumPy has no bfloat16.
        values = (values if values.dtype == torch.float64 else values.float()).cpu().numpy()
    scores: Floats = values.astype(np.promote_types(values.dtype, np.float32), copy=False)
    finite = np.isfinite(scores)
    if not finite.all():
        nans = int(np.isnan(scores).sum())
        infinite = int(scores.size - finite.sum()) - nans
        first = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"{name} hold {nans} NaN and {infinite} infinite scores among {scores.size}, the first "
            f"at {first}: scores must be finite. Look for a division by zero or a half-precision "
            "overflow in the method, or leave these images out."
        )
    return scores


def labels_of(values: Array) -> Bools:
    """True where a value is not zero."""
    if isinstance(values, Tensor):
        values = values.to(torch.bool).cpu().numpy()
    labels: Bools = values.astype(np.bool_, copy=False)
    return labels


def check_per_image(images: int, values: Array, name: str) -> None:
    """Refuse a shape that is not (images,), with a ValueError."""
    if tuple(values.shape) != (images,):
        raise ValueError(
            f"{name} have shape {tuple(values.shape)} for {images} maps: give one value a map, in "
            f"shape ({images},)."
        )
