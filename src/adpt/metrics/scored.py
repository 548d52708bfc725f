"""Scored test images, as metrics look at them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from scipy import ndimage

from adpt.metrics.arrays import Bools, Floats, Maps, Masks
from adpt.metrics.ranking import Counts, Rankings, rank, rank_each, rank_maps


class Pictured(Protocol):
    """A test image as files; `adpt.data.Sample` is one."""

    @property
    def image(self) -> Path:
        """The image file."""

    @property
    def mask(self) -> Path | None:
        """Where its defects are marked; None for a normal image, and where nobody marked them."""

    @property
    def view(self) -> str:
        """The camera view, "" where a set has only one."""

    @property
    def defect(self) -> str:
        """The kind of defect as the set names it."""

    @property
    def piece(self) -> str:
        """The piece that is seen, by a name that all views of it share; "" where there is none."""


class TrueRegion(NamedTuple):
    """A defect of a test image.

    Attributes:
        pixels: (P,), where its pixels stand in the flattened mask; one at least.
        enough: So many of them, 1 at least, and all of it counts as found.
    """

    pixels: Counts
    enough: int


class Good(NamedTuple):
    """Scores of n good images that are no test images, each as if it had not been fitted on.

    Attributes:
        maps: (n, H, W).
        image: (n,).
    """

    maps: Floats
    image: Floats


def no_good() -> Good | None:
    """Nothing, where no scores of good images can be had."""
    return None


def no_regions(number: int) -> Sequence[TrueRegion] | None:
    """Nothing, where a set does not tell an image's defects apart."""
    return None


def connected(mask: Bools) -> list[TrueRegion]:
    """The 8-connected regions of a mask (H, W), all of whose pixels are to be found."""
    places, numbers = np.flatnonzero(mask), ndimage.label(mask, np.ones((3, 3)))[0][mask]
    order = np.argsort(numbers, kind="stable")
    parts = np.split(places[order], np.flatnonzero(np.diff(numbers[order])) + 1)
    return [TrueRegion(pixels, len(pixels)) for pixels in parts if len(pixels)]


@dataclass(frozen=True)
class Scored:
    """The test images of a class as a method scored them; all finite, larger is more anomalous.

    Args:
        maps: N maps (H, W), a score a pixel. At the network's resolution they are one array
            (N, H, W); at the pictures' own (`metric_resolution=picture`) each is made when it is
            asked for, of the size of its picture.
        masks: N masks (H, W) of the same sizes, True where a pixel is anomalous; None where nobody
            marked the defects.
        labels: (N,), True for anomalous images.
        image_scores: (N,), a score an image.
        samples: N, the images as files; empty where scores come from none.
        score_good: Gives `good`.
        find_regions: Gives `regions` of an image; None where its set does not tell them.
    """

    maps: Maps
    masks: Masks | None
    labels: Bools
    image_scores: Floats
    samples: Sequence[Pictured] = ()
    score_good: Callable[[], Good | None] = no_good
    find_regions: Callable[[int], Sequence[TrueRegion] | None] = no_regions

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def rankings(self) -> Rankings:
        """Images and pixels, each sorted once for all metrics."""
        if self.masks is not None and not self.at_network:
            image = rank(self.image_scores, self.labels)
            return Rankings(image, rank_each(self.maps, self.masks))
        maps, masks = np.asarray(self.maps), self.masks
        known = None if masks is None else np.asarray(masks)
        return rank_maps(maps, known, self.image_scores, labels=self.labels)

    def regions(self, number: int) -> Sequence[TrueRegion]:
        """The defects of an image, as its set tells them, else the 8-connected ones of its mask."""
        found = self.find_regions(number)
        if found is None:
            found = [] if self.masks is None else connected(self.masks[number])
        return found

    @property
    def at_network(self) -> bool:
        """True if pixels are those of the network's resolution."""
        return isinstance(self.maps, np.ndarray)

    @property
    def each_once(self) -> Counts:
        """(1, N), the resample that is the test images themselves."""
        return np.ones((1, len(self)), np.int64)

    @cached_property
    def good(self) -> Good | None:
        """Scores to set a threshold by without test images; None where the method tells none."""
        return self.score_good()
