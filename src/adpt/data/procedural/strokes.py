"""Shapes that defects are rendered with: strokes, blobs, and places on the product."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from adpt.data.procedural.fields import Field, grid, noise
from adpt.data.procedural.scene import Scene

_OVERSAMPLING = 3


def spot(scene: Scene, rng: np.random.Generator, margin: float = 0.03) -> tuple[float, float]:
    """A point (x, y) of the picture on the product, if possible `margin` away from its edge."""
    size = scene.frame.size
    border = max(round(size * 0.05), 1)
    cover = np.zeros_like(scene.silhouette)
    within = np.s_[border:-border, border:-border]
    cover[within] = scene.silhouette[within]
    # Thin wires in a small picture cover no pixel whole.
    solid = cover > 0.98 * cover.max()
    inner = ndimage.binary_erosion(solid, iterations=max(round(margin * size / 2), 1))
    return point_in(inner if inner.any() else solid, rng)


def rim_spot(scene: Scene, rng: np.random.Generator) -> tuple[float, float]:
    """A point (x, y) on the product's outline, inside the picture."""
    size = scene.frame.size
    solid = scene.silhouette > 0.5
    rim = solid & ~ndimage.binary_erosion(solid, border_value=1)
    border = max(size // 20, 1)
    rim[:border] = rim[-border:] = rim[:, :border] = rim[:, -border:] = False
    return point_in(rim, rng) if rim.any() else spot(scene, rng)


def point_in(where: NDArray[np.bool_], rng: np.random.Generator) -> tuple[float, float]:
    """One of the pixels (size, size) that are True, as a point (x, y)."""
    rows, columns = np.nonzero(where)
    at = int(rng.integers(rows.size))
    x, _ = grid(len(where))
    return float(x[0, columns[at]]), float(x[0, rows[at]])


def blob(
    rng: np.random.Generator, size: int, centre: tuple[float, float], radius: float, rough: float
) -> Field:
    """Distance from a lobed blob's outline in units of its radius: −1 at its centre, 0 on it."""
    x, y = grid(size)
    dx, dy = x - centre[0], y - centre[1]
    turn, flat = rng.uniform(0, np.pi), rng.uniform(0.55, 1.0)
    cos, sin = np.cos(turn), np.sin(turn)
    distance = np.hypot(cos * dx + sin * dy, (cos * dy - sin * dx) / flat) / radius
    lobes = rough * noise(rng, size, 0.6 / radius, 2.5 / radius)
    return np.asarray(distance - 1 + lobes * np.minimum(distance, 1), dtype=np.float32)


def path(
    rng: np.random.Generator,
    start: tuple[float, float],
    heading: float,
    length: float,
    bend: float,
    jag: float = 0.0,
) -> Field:
    """Points (n, 2) of a line that turns steadily by `bend` and unsteadily by `jag` radians."""
    steps = 24
    turns = bend / steps + rng.normal(0, jag, steps)
    angles = heading + np.cumsum(turns)
    moves = np.stack((np.cos(angles), np.sin(angles)), -1) * (length / steps)
    points = np.asarray(start) + np.vstack((np.zeros((1, 2)), np.cumsum(moves, 0)))
    return points.astype(np.float32)


def stroke(size: int, points: Field, width: float, *, taper: bool = True) -> Field:
    """Coverage (size, size) of a line of that width (in units of half a picture)."""
    scale = size * _OVERSAMPLING
    image = Image.new("L", (scale, scale), 0)
    draw = ImageDraw.Draw(image)
    at = (points + 1) * (scale / 2)
    pieces = len(at) - 1
    for index in range(pieces):
        along = (index + 0.5) / pieces
        share = min(1.0, 5 * along, 5 * (1 - along)) if taper else 1.0
        thick = width * scale / 2 * (0.4 + 0.6 * share)
        (x0, y0), (x1, y1) = at[index].tolist(), at[index + 1].tolist()
        draw.line((x0, y0, x1, y1), fill=255, width=max(round(thick), 1))
        r = thick / 2
        draw.ellipse((x1 - r, y1 - r, x1 + r, y1 + r), fill=255)
    return np.asarray(image.reduce(_OVERSAMPLING)).astype(np.float32) / np.float32(255)
