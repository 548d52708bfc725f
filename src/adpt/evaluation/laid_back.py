"""Score maps and masks at the resolution of the pictures, one at a time."""

from collections.abc import Sequence
from typing import overload

import numpy as np
import torch

from adpt.data import Sample
from adpt.data.images import mask_of, upright_size
from adpt.data.transforms import Geometry
from adpt.metrics.arrays import Bools, Floats


class LaidBack(Sequence[Floats]):
    """Score maps laid over their pictures; what a crop left unseen is no part of them.

    Args:
        maps: (N, H, W) at the network's resolution.
        samples: The pictures.
        geometry: How they were read.
    """

    def __init__(self, maps: Floats, samples: Sequence[Sample], geometry: Geometry) -> None:
        self.maps, self.samples, self.geometry = maps, samples, geometry

    def __len__(self) -> int:
        return len(self.maps)

    @overload
    def __getitem__(self, index: int) -> Floats: ...
    @overload
    def __getitem__(self, index: slice) -> "LaidBack": ...
    def __getitem__(self, index: int | slice) -> "Floats | LaidBack":
        """The map of a picture, (height, width) of what was seen of it."""
        if isinstance(index, slice):
            return LaidBack(self.maps[index], self.samples[index], self.geometry)
        size = _size(self.samples[index])
        laid = self.geometry.lay_back(torch.from_numpy(self.maps[index]), size)
        rows, columns = self.geometry.seen(size)
        found: Floats = laid[rows][:, columns].numpy()
        return found


class PictureMasks(Sequence[Bools]):
    """Masks as their files have them, of the part that was seen; arguments as of `LaidBack`."""

    def __init__(self, samples: Sequence[Sample], geometry: Geometry) -> None:
        self.samples, self.geometry = samples, geometry

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> Bools: ...
    @overload
    def __getitem__(self, index: slice) -> "PictureMasks": ...
    def __getitem__(self, index: int | slice) -> "Bools | PictureMasks":
        """The mask of a picture, blank where it has no file."""
        if isinstance(index, slice):
            return PictureMasks(self.samples[index], self.geometry)
        sample = self.samples[index]
        size = _size(sample)
        rows, columns = (seen.numpy() for seen in self.geometry.seen(size))
        if sample.mask is None:
            return np.zeros((rows.sum(), columns.sum()), bool)
        mask = mask_of(sample.mask, sample.class_name, self.geometry.rules).pixels
        found: Bools = mask[rows][:, columns]
        return found


def _size(sample: Sample) -> tuple[int, int]:
    """Height and width of a picture."""
    width, height = upright_size(sample.image, sample.class_name)
    return height, width
