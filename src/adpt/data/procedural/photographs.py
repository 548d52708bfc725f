"""Photographs of products, sound and defective, with the mask of what a defect changed."""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from adpt.data.procedural.camera import Exposure
from adpt.data.procedural.catalogue import Product
from adpt.data.procedural.defects import DEFECTS
from adpt.data.procedural.fields import Field
from adpt.data.procedural.scene import Frame, Scene

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]

VISIBLE = 5 / 255
"""A pixel belongs to the mask if the defect changed a channel by more than this."""
_ATTEMPTS = 12


@dataclass(frozen=True)
class Shot:
    """Which picture to render; everything random in it follows from these values alone.

    Attributes:
        seed: Seed of the whole set.
        name: The product's name.
        view: The camera's name.
        series: Keeps pictures of different purposes apart, such as training and test images.
        index: Number within the series.
    """

    seed: int
    name: str
    view: str
    series: str
    index: int

    def rng(self, *purpose: int) -> np.random.Generator:
        """A generator of its own for this picture and this purpose."""
        words = (self.name, self.view, self.series)
        key = [zlib.crc32(word.encode()) for word in words]
        return np.random.default_rng([self.seed, *key, self.index, *purpose])


def photograph(product: Product, shot: Shot, size: int) -> Picture:
    """Picture (size, size, 3) of a sound specimen."""
    scene, exposure = _set_up(product, shot, size)
    clean = exposure.expose(scene)
    return exposure.develop(clean, clean)


def photograph_defect(
    product: Product, shot: Shot, size: int, defect: str
) -> tuple[Picture, Picture, Mask]:
    """The same specimen without and with a defect, each (size, size, 3), and the defect's mask.

    The mask (size, size) holds the pixels that the defect changed visibly; it is never empty.
    """
    scene, exposure = _set_up(product, shot, size)
    clean = exposure.expose(scene)
    least = max(20 * (size / 256) ** 2, 3)
    for attempt in range(_ATTEMPTS):
        strength = 1 + 0.35 * attempt
        spoiled = DEFECTS[defect](scene, shot.rng(1, attempt), strength)
        picture = exposure.expose(spoiled)
        mask = _changed(clean, picture, least)
        if mask.any():
            return exposure.develop(clean, clean), exposure.develop(picture, clean), mask
    raise RuntimeError(f"{defect} stayed invisible on {shot.name} in {_ATTEMPTS} attempts")


def _set_up(product: Product, shot: Shot, size: int) -> tuple[Scene, Exposure]:
    """Lay the specimen before the camera and set the light."""
    rng = shot.rng(0)
    view = product.views[shot.view]
    turn, slide, grow = product.play
    frame = Frame.place(
        size,
        angle=float(np.radians(view.angle + rng.normal(0, turn))),
        shift=(float(rng.normal(0, slide)), float(rng.normal(0, slide))),
        scale=view.scale * float(np.clip(rng.normal(1, grow), 0.9, 1.1)),
        tilt=view.tilt,
    )
    return product.render(frame, rng), Exposure.sample(rng, view, size)


def _changed(clean: Field, picture: Field, least: float) -> Mask:
    """Pixels that differ visibly, without speckle: parts below `least` pixels are dropped."""
    shown = np.abs(np.clip(picture, 0, 1) - np.clip(clean, 0, 1)).max(axis=2) > VISIBLE
    joined = ndimage.binary_closing(np.pad(shown, 1), np.ones((3, 3)))[1:-1, 1:-1]
    labels, count = ndimage.label(joined, np.ones((3, 3)))
    if count == 0:
        return np.zeros(shown.shape, dtype=np.bool_)
    areas = np.bincount(labels.ravel())
    keep = areas >= least
    keep[0] = False
    return np.asarray(keep[labels], dtype=np.bool_)
