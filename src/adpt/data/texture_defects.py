"""Defects on images for GLASS: a foreign texture shines through in irregular spots."""

import logging
from collections.abc import Callable
from copy import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as V

from adpt.data.files import walk_files
from adpt.data.foreground import estimate_foreground, mask_files
from adpt.data.foreign_textures import TextureFolder, augment, render_texture
from adpt.data.images import read_mask
from adpt.data.perlin import Mask, perlin_mask
from adpt.data.transforms import Geometry
from adpt.errors import DataError

log = logging.getLogger(__name__)

_OWN_SHARE = (0.5, 0.1)
"""Mean and standard deviation of the image's own share within a defect (GLASS)."""
_OWN_SHARE_RANGE = (0.2, 0.8)
_LEAST = 0.0005
"""Smallest share of the image that a defect covers: a pixel or two mark a patch, but leave no trace
in its features."""
_ATTEMPTS = 50
"""How often a mask is drawn anew that misses the product, before it may lie anywhere."""


class TextureDefects:
    """Blend a foreign texture into a normal image where a Perlin mask lies on the product.

    GLASS's local anomaly synthesis (arXiv 2407.09359). What is drawn depends on the
    image, the seed and the texture files alone.

    Args:
        textures: Folder of texture images such as DTD's; None renders textures.
        foreground: Where defects may lie: "estimate" finds the product by the border's colour,
            "none" allows the whole image, anything else is a folder of foreground masks (not
            zero on the product; see `foreground.mask_files` for their names), where an image
            without a file gets the estimate.
        published: As the authors' code makes them: defects of any size, none in the corners that
            turned masks leave, textures turned into black and cropped afterwards, and a foreground
            of all pixels that its mask touches.
        geometry: How the images were brought to their size, for the masks in a folder; None if
            they were squeezed to it.

    Raises:
        DataError: A folder is missing or holds no image.
    """

    def __init__(
        self,
        textures: str | Path | None = None,
        foreground: str | Path = "estimate",
        published: bool = False,
        geometry: Geometry | None = None,
    ) -> None:
        self.sample_texture: Callable[[np.random.Generator, tuple[int, int]], Tensor] = (
            render_texture
        )
        if textures is not None:
            self.sample_texture = TextureFolder(
                Path(textures), _shorter_side(geometry) if published else None
            )
        self.foreground, self.published = foreground, published
        self.geometry = geometry
        self.warned = False
        if foreground not in ("estimate", "none") and not any(
            names for _, names in walk_files(Path(foreground))
        ):
            raise DataError(
                f"No foreground masks were found in '{foreground}'. Give a folder of mask images,"
                " 'estimate' to have the product found, or 'none' to use the whole image."
            )

    def __call__(
        self, image: Tensor, seed: int, path: str | Path | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw a defect; `seed` decides everything.

        Args:
            image: (3, H, W) uint8, without a defect.
            seed: Of this draw.
            path: The image's file, to look up its foreground mask by.

        Returns:
            The image (3, H, W) uint8 and its mask (H, W) bool, never empty: where the texture was
            blended in.

        Raises:
            DataError: No texture file, or not this image's foreground mask, can be read.
        """
        shape = (image.shape[1], image.shape[2])
        rng = np.random.default_rng(seed)
        mask = torch.from_numpy(_mask(rng, self._allowed(image, path), self.published))
        texture = augment(self.sample_texture(rng, shape), rng, empty_corners=self.published)
        texture = V.center_crop(texture, list(shape)).float()
        own = float(np.clip(rng.normal(*_OWN_SHARE), *_OWN_SHARE_RANGE))
        blended = texture.lerp(image.float(), own).round().to(torch.uint8)
        return torch.where(mask, blended, image), mask

    def _allowed(self, image: Tensor, path: str | Path | None) -> Mask:
        """Where the defect may lie, (H, W)."""
        shape = (image.shape[1], image.shape[2])
        if self.foreground == "none":
            return np.ones(shape, dtype=np.bool_)
        if self.foreground != "estimate":
            places = mask_files(Path(self.foreground), Path(path)) if path is not None else ()
            file = next((place for place in places if place.is_file()), None)
            if file is not None:
                geometry = copy(self.geometry or Geometry(shape))
                if self.published:
                    geometry.mask_resize = "touched"
                return np.asarray(geometry.mask(read_mask(file, "foreground")).numpy())
            if not self.warned:
                self.warned = True
                log.warning(
                    "No foreground mask for %s in %s (and maybe for others): it is estimated.",
                    path or "an image without a path",
                    self.foreground,
                )
        return np.asarray(estimate_foreground(image).numpy())


def _shorter_side(geometry: Geometry | None) -> int:
    """The size that a texture's shorter side is brought to, as that of the images."""
    side = (geometry or Geometry()).resize
    return side if isinstance(side, int) else max((geometry or Geometry()).image_size)


def _mask(rng: np.random.Generator, allowed: Mask, published: bool) -> Mask:
    """A mask of at least the smallest size; outside of `allowed` only if there is no other."""
    height, width = allowed.shape
    attempt = 0
    while True:
        mask = perlin_mask(rng, (height, width), turn_picture=published)
        if attempt < _ATTEMPTS:
            mask &= allowed
        if mask.any() and (published or mask.mean() >= _LEAST):
            return mask
        attempt += 1
