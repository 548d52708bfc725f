"""Textures that are not the product's own: from image files, or rendered without any."""

import colorsys
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as V

from adpt.data.files import walk_files
from adpt.data.images import read_image
from adpt.data.procedural.camera import Exposure, View
from adpt.data.procedural.catalogue import PRETRAINING_PRODUCTS
from adpt.data.procedural.fields import Field, noise, ramp
from adpt.data.procedural.scene import Frame
from adpt.data.transforms import Geometry
from adpt.errors import BadImageError, DataError

log = logging.getLogger(__name__)

_MATERIALS = tuple(
    PRETRAINING_PRODUCTS[name].render
    for name in ("woven_cloth", "wood_plank", "brushed_metal", "speckled_stone")
)
_CHANGES = 3
"""How many of the kinds of changes a texture undergoes."""


class TextureFolder:
    """Pictures of textures below a folder such as DTD's `images`, read when they are sampled.

    Args:
        folder: Of image files, in subfolders or not.
        shorter: Bring the shorter side to so many pixels and crop nothing; None gives the middle.

    Raises:
        DataError: There is no image in it.
    """

    def __init__(self, folder: Path, shorter: int | None = None) -> None:
        self.folder, self.shorter = folder, shorter
        self.files = sorted(here / name for here, names in walk_files(folder) for name in names)
        if not self.files:
            raise DataError(
                f"No texture images were found in {folder}. Give a folder that holds image files,"
                " in subfolders or not, or null to have textures rendered."
            )
        self.broken: set[Path] = set()

    def __call__(self, rng: np.random.Generator, shape: tuple[int, int]) -> Tensor:
        """Sample a texture, (3, …) uint8; a file that cannot be read is named and passed over.

        Raises:
            DataError: None of the files can be read.
        """
        for index in rng.permutation(len(self.files)):
            file = self.files[index]
            try:
                picture = read_image(file, "texture")
            except BadImageError as error:
                if file not in self.broken:
                    self.broken.add(file)
                    log.warning("Texture skipped: %s", error.__cause__ or error)
                continue
            if self.shorter is not None:
                whole: Tensor = V.resize(V.pil_to_tensor(picture), [self.shorter])
                return whole
            return Geometry(shape, resize=max(shape)).image(picture)
        raise DataError(
            f"None of the {len(self.files)} texture files in {self.folder} can be read."
            " Replace them, or give null to have textures rendered."
        )


def render_texture(rng: np.random.Generator, shape: tuple[int, int]) -> Tensor:
    """Render a texture (3, H, W) uint8 without any file: a dyed material, or a coloured pattern."""
    render = _material if rng.random() < 0.4 else _pattern
    picture = np.clip(render(rng, max(*shape, 16)), 0, 1)[: shape[0], : shape[1]]
    return torch.from_numpy((255 * picture + 0.5).astype(np.uint8)).permute(2, 0, 1).contiguous()


def _material(rng: np.random.Generator, size: int) -> Field:
    """A product's surface, (size, size, 3), in any colour."""
    angle, scale = float(rng.uniform(0, np.pi)), float(rng.uniform(1, 2.5))
    frame = Frame.place(size, angle=angle, scale=scale)
    scene = _MATERIALS[rng.integers(len(_MATERIALS))](frame, rng)
    view = View(background=None, light=float(rng.uniform(-180, 180)), elevation=40)
    picture = Exposure.sample(rng, view, size).expose(scene)
    return np.asarray(picture * (2 * _colour(rng)), dtype=np.float32)


def _pattern(rng: np.random.Generator, size: int) -> Field:
    """Two or three colours after a random field, (size, size, 3): blots, stripes, spots, grain."""
    low = float(np.exp(rng.uniform(np.log(1.5), np.log(20))))
    field = noise(
        rng,
        size,
        low,
        low * float(rng.uniform(1.2, 6)),
        slope=float(rng.uniform(0.3, 1.5)),
        stretch=float(rng.choice((1, 1, 4, 12))),
        angle=float(rng.uniform(0, np.pi)),
    )
    soft = float(rng.uniform(0.1, 1.5))
    first, second, third = (_colour(rng) for _ in range(3))
    cover = ramp(field, -soft, soft)[..., None]
    spots = ramp(noise(rng, size, 2 * low, 4 * low), 1.0, 1.4)[..., None] * (rng.random() < 0.5)
    picture = first + cover * (second - first)
    picture = picture + spots * (third - picture)
    grain = 1 + float(rng.uniform(0, 0.15)) * noise(rng, size, 10, 100, slope=0.3)
    return np.asarray(picture * grain[..., None], dtype=np.float32)


def _colour(rng: np.random.Generator) -> Field:
    """RGB (3,): any hue, pale or strong, dark or bright."""
    hue, saturation, value = rng.random(), rng.uniform(0, 0.9), rng.uniform(0.1, 1)
    return np.asarray(colorsys.hsv_to_rgb(hue, saturation, value), dtype=np.float32)


def augment(texture: Tensor, rng: np.random.Generator, *, empty_corners: bool = False) -> Tensor:
    """Change a texture (3, H, W) uint8 in three of nine ways, those that GLASS's authors use.

    `empty_corners` leaves the corners of a turned picture black, as they do.
    """
    factors = rng.uniform(0.8, 1.2, 3).tolist()
    hue, angle = float(rng.uniform(-0.2, 0.2)), float(rng.uniform(-45, 45))
    # Turned within a square, the picture is enlarged until no empty corner shows.
    scale = float(abs(np.cos(np.radians(angle))) + abs(np.sin(np.radians(angle))))
    scale = 1.0 if empty_corners else scale
    ways: list[Callable[[Tensor], Tensor]] = [
        partial(V.adjust_contrast, contrast_factor=factors[0]),
        partial(V.adjust_brightness, brightness_factor=factors[1]),
        lambda t: V.adjust_hue(V.adjust_saturation(t, factors[2]), hue),
        V.horizontal_flip,
        V.vertical_flip,
        partial(V.rgb_to_grayscale, num_output_channels=3),
        V.autocontrast,
        V.equalize,
        partial(V.affine, angle=angle, translate=[0, 0], scale=scale, shear=[0.0, 0.0]),
    ]
    for way in rng.choice(len(ways), _CHANGES, replace=False):
        texture = ways[way](texture)
    return texture
