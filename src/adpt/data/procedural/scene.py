"""A product before it is photographed: its colours, its relief, and what lies on it."""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from adpt.data.procedural.fields import Field, grid

Colour: TypeAlias = tuple[float, float, float] | Field  # RGB, (3,) or (size, size, 3)
LayerKind = Literal["part", "print", "mark"]


@dataclass(frozen=True)
class Frame:
    """Where the product lies in the picture.

    Attributes:
        size: Pixels per side.
        x: Product coordinate of each pixel, (size, size); about −1 to 1.
        y: The same for the other axis; points down in an unrotated picture.
        pixel: Width of a pixel in product coordinates.
        angle: Direction of the product's x axis in the picture, in radians.
    """

    size: int
    x: Field
    y: Field
    pixel: float
    angle: float = 0.0

    @classmethod
    def place(
        cls,
        size: int,
        *,
        angle: float = 0.0,
        shift: tuple[float, float] = (0.0, 0.0),
        scale: float = 1.0,
        tilt: float = 1.0,
    ) -> "Frame":
        """Turn (radians), shift and scale the product; `tilt` below 1 shortens it along y."""
        x, y = grid(size)
        x, y = (x - shift[0]) / scale, (y - shift[1]) / (scale * tilt)
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        return cls(size, cos * x + sin * y, cos * y - sin * x, 2 / (size * scale), angle)

    def near(self, x: float, y: float, reach: float) -> tuple["Frame", tuple[slice, slice]]:
        """The part of the picture within `reach` of a point, relative to it, and where it lies."""
        hit = (np.abs(self.x - x) < reach) & (np.abs(self.y - y) < reach)
        rows, columns = np.flatnonzero(hit.any(axis=1)), np.flatnonzero(hit.any(axis=0))
        if rows.size == 0:
            rows = columns = np.zeros(1, dtype=np.intp)
        at = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return replace(self, x=self.x[at] - x, y=self.y[at] - y), at


@dataclass(frozen=True)
class Layer:
    """Something that lies on the surface: a part, a print, or a mark that a defect left.

    Attributes:
        kind: What it is; some defects look for parts or prints.
        alpha: Coverage, (size, size), 0 to 1.
        colour: RGB, or (size, size, 3); what covers the surface.
        relief: Height added, (size, size), in units of half a picture.
        multiply: The colour is multiplied with the surface's instead of covering it.
        gloss: Strength of its highlights; None keeps the surface's.
    """

    kind: LayerKind
    alpha: Field
    colour: Colour
    relief: Field | None = None
    multiply: bool = False
    gloss: float | None = None


@dataclass(frozen=True)
class Scene:
    """All that the camera needs to know.

    Attributes:
        frame: Where the product lies.
        albedo: Surface colour, (size, size, 3), 0 to 1.
        relief: Surface height, (size, size), in units of half a picture.
        silhouette: Coverage of the product, (size, size), 0 to 1.
        gloss: Strength of highlights.
        layers: What lies on the surface, lowest first.
    """

    frame: Frame
    albedo: Field
    relief: Field
    silhouette: Field
    gloss: float = 0.1
    layers: tuple[Layer, ...] = ()

    def flatten(self) -> tuple[Field, Field, Field]:
        """Albedo (size, size, 3), relief and gloss (size, size) with all layers applied."""
        albedo = self.albedo.copy()
        relief = self.relief.copy()
        gloss = np.full_like(relief, self.gloss)
        for layer in self.layers:
            rows = np.flatnonzero(layer.alpha.any(axis=1))
            columns = np.flatnonzero(layer.alpha.any(axis=0))
            if rows.size:
                at = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                alpha = layer.alpha[at]
                colour = np.asarray(layer.colour, dtype=np.float32)
                colour = colour[at] if colour.ndim == 3 else colour
                under = albedo[at]
                over = under * colour if layer.multiply else colour
                albedo[at] = under + alpha[..., None] * (over - under)
                if layer.gloss is not None:
                    gloss[at] += alpha * (layer.gloss - gloss[at])
            if layer.relief is not None:
                relief += layer.relief
        return albedo, relief, gloss


def paint(*parts: tuple[Colour, Field]) -> Field:
    """Albedo (size, size, 3) from colours laid over each other, each with its coverage."""
    first = parts[0][1]
    albedo = np.zeros((*first.shape, 3), dtype=np.float32)
    for colour, alpha in parts:
        albedo += alpha[..., None] * (np.asarray(colour, dtype=np.float32) - albedo)
    return albedo


def dyed(rng: np.random.Generator, colour: tuple[float, float, float], by: float) -> Field:
    """The colour of one specimen, (3,): brightness varies by `by`, hue by a third of it."""
    warmth = np.asarray((1.0, 0.15, -1.0)) * rng.normal(0, by / 3)
    value = np.asarray(colour) * (1 + rng.normal(0, by)) * (1 + warmth + rng.normal(0, by / 10, 3))
    return np.clip(value, 0.01, 0.98).astype(np.float32)


def whole(frame: Frame) -> Field:
    """The silhouette of a product that fills the picture."""
    return np.ones_like(frame.x)
