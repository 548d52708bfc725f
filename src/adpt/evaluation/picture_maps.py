"""Score maps and masks at the resolution of the pictures, one at a time."""

from collections.abc import Sequence
from typing import overload

import numpy as np
import torch

from adpt.data import AnomalyDataModule, Sample
from adpt.data.images import mask_of, upright_size
from adpt.data.sample import Defect
from adpt.data.transforms import Geometry
from adpt.metrics import TrueRegion
from adpt.metrics.arrays import Bools, Floats


class PictureMaps(Sequence[Floats]):
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
    def __getitem__(self, index: slice) -> "PictureMaps": ...
    def __getitem__(self, index: int | slice) -> "Floats | PictureMaps":
        """The map of a picture, (height, width) of what was seen of it."""
        if isinstance(index, slice):
            return PictureMaps(self.maps[index], self.samples[index], self.geometry)
        size = _size(self.samples[index])
        laid = self.geometry.lay_back(torch.from_numpy(self.maps[index]), size)
        rows, columns = self.geometry.seen(size)
        found: Floats = laid[rows][:, columns].numpy()
        return found


class PictureMasks(Sequence[Bools]):
    """Masks as their files have them, of the part that was seen; arguments as of `PictureMaps`."""

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
        found: Bools = np.zeros((rows.sum(), columns.sum()), bool)
        for path in sample.masks:
            mask = mask_of(path, sample.class_name, self.geometry.rules).pixels
            found |= mask[rows][:, columns]
        return found


class Defects:
    """The defects of test images one by one, where their set tells them apart.

    Args:
        data: The set.
        at_network: True for the network's resolution, at which the same share of a defect is
            enough as of the whole; False for the pictures' own.
    """

    def __init__(self, data: AnomalyDataModule, at_network: bool) -> None:
        self.data, self.at_network = data, at_network

    def __call__(self, sample: Sample) -> list[TrueRegion] | None:
        """An image's defects, less those of which no pixel is left; None where nothing is told."""
        told = self.data.defects_of(sample)
        return None if told is None else [r for one in told if len((r := self._scored(one)).pixels)]

    def _scored(self, defect: Defect) -> TrueRegion:
        geometry, (mask, enough) = self.data.geometry, defect
        if self.at_network:
            pixels = np.flatnonzero(geometry.mask(mask).numpy())
            return TrueRegion(pixels, max(1, round(enough * len(pixels) / mask.sum())))
        rows, columns = (seen.numpy() for seen in geometry.seen(mask.shape))
        return TrueRegion(np.flatnonzero(mask[rows][:, columns]), enough)


def _size(sample: Sample) -> tuple[int, int]:
    """Height and width of a picture."""
    width, height = upright_size(sample.image, sample.class_name)
    return height, width
