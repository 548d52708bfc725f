"""Text and bar codes as they are printed on products."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from adpt.data.procedural.fields import Field
from adpt.data.procedural.scene import Frame


@dataclass(frozen=True)
class Barcode:
    """Bars of one to four modules; another number gives other bars."""

    number: int


Ink = str | Barcode
"""A print: lines of text, or a bar code."""


def lettering(frame: Frame, ink: Ink, x: float, y: float, width: float, height: float) -> Field:
    """Coverage (size, size) of print stretched over a box of that centre and those sides."""
    rows = _stencil(ink, 0).shape[0]
    stencil = _stencil(ink, round(2 * rows * frame.pixel / height))
    columns = stencil.shape[1]
    u = ((frame.x - x) / width + 0.5) * columns - 0.5
    v = ((frame.y - y) / height + 0.5) * rows - 0.5
    hit = (u > -1) & (u < columns) & (v > -1) & (v < rows)
    coverage = np.zeros_like(frame.x)
    coverage[hit] = ndimage.map_coordinates(stencil, (v[hit], u[hit]), order=1, mode="constant")
    return coverage


@lru_cache(maxsize=256)
def _stencil(ink: Ink, texels: int) -> Field:
    """The print, (height, width), softened for pixels that are `texels` half texels wide."""
    sharp = _bars(ink.number) if isinstance(ink, Barcode) else _text(ink)
    return np.asarray(ndimage.gaussian_filter(sharp, 0.2 * texels), dtype=np.float32)


def _text(lines: str) -> Field:
    """Text set with Pillow's own font, cropped to its ink."""
    font = ImageFont.load_default(40)
    image = Image.new("L", (1600, 60 * (lines.count("\n") + 1) + 40), 0)
    ImageDraw.Draw(image).multiline_text((10, 10), lines, fill=255, font=font, spacing=14)
    return np.asarray(image.crop(image.getbbox())).astype(np.float32) / np.float32(255)


def _bars(number: int) -> Field:
    widths = np.random.default_rng(number).integers(1, 5, 31)
    bars = np.repeat(np.arange(widths.size) % 2 == 0, widths * 3)
    return np.tile(bars.astype(np.float32), (60, 1))
