"""Perlin noise, and irregular masks cut from it."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

_MOST_CELLS_EXPONENT = 6
_THRESHOLD = 0.5


def perlin_noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cells: tuple[int, int],
    turn: float = 0.0,
    *,
    turn_picture: bool = False,
) -> NDArray[np.float64]:
    """Gradient noise on a lattice, smooth, with mean 0, within −1 to 1; 0 on the lattice's points.

    Args:
        rng: Where the lattice's gradients come from.
        shape: Height and width of the picture.
        cells: Lattice cells down and across the picture.
        turn: Angle by which the lattice is turned about the picture's centre, in radians.
        turn_picture: Turn the picture instead, whose corners are then 0; the lattice begins with
            its first pixel.
    """
    if turn_picture:
        y = (np.arange(shape[0]) / shape[0] * cells[0])[:, None]
        x = np.arange(shape[1]) / shape[1] * cells[1]
    else:
        down = ((np.arange(shape[0]) + 0.5) / shape[0] - 0.5)[:, None]
        across = (np.arange(shape[1]) + 0.5) / shape[1] - 0.5
        cos, sin = np.cos(turn), np.sin(turn)
        # A turned lattice reaches beyond its square; it is that much larger.
        y = (cos * down - sin * across + 1) * cells[0]
        x = (sin * down + cos * across + 1) * cells[1]
    row, column = np.floor(y).astype(int), np.floor(x).astype(int)
    angles = rng.uniform(0, 2 * np.pi, (2 * cells[0] + 2, 2 * cells[1] + 2))
    y, x = y - row, x - column

    def corner(i: int, j: int) -> NDArray[np.float64]:
        """The corner's gradient times the way from that corner."""
        angle = angles[row + i, column + j]
        return np.asarray(np.cos(angle) * (y - i) + np.sin(angle) * (x - j))

    fade_y, fade_x = (t**3 * (t * (6 * t - 15) + 10) for t in (y, x))
    upper = corner(0, 0) + fade_x * (corner(0, 1) - corner(0, 0))
    lower = corner(1, 0) + fade_x * (corner(1, 1) - corner(1, 0))
    field = np.sqrt(2) * (upper + fade_y * (lower - upper))
    if turn_picture:
        field = ndimage.rotate(field, np.degrees(turn), reshape=False, order=1)
    return np.asarray(field)


def perlin_mask(
    rng: np.random.Generator, shape: tuple[int, int], *, turn_picture: bool = False
) -> Mask:
    """An irregular mask as GLASS makes it (arXiv 2407.09359); may be empty.

    Where noise exceeds one half: of one field, of either of two or of both, a third each. Each
    field has 1 to 32 cells a side and lies turned by up to a right angle. With `turn_picture`, as
    the authors do, the corners are empty.
    """

    def spots() -> Mask:
        down, across = 2 ** rng.integers(0, _MOST_CELLS_EXPONENT, 2)
        turn = rng.uniform(-np.pi / 2, np.pi / 2)
        cells = int(down), int(across)
        noise = perlin_noise(rng, shape, cells, turn, turn_picture=turn_picture)
        return np.asarray(noise > _THRESHOLD)

    kind = int(rng.integers(3))
    if kind == 0:
        return spots()
    first, second = spots(), spots()
    return first | second if kind == 1 else first & second
