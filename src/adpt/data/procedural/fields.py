"""Scalar fields that pictures are made of: coordinates, smooth noise, edges of shapes."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Field = NDArray[np.float32]


@lru_cache(maxsize=8)
def grid(size: int) -> tuple[Field, Field]:
    """Pixel centres as (x, y), each (size, size); the picture spans −1 to 1, y points down."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y


@lru_cache(maxsize=64)
def _spectrum(reach: int, low: float, high: float, slope: float) -> Field:
    """Amplitude per frequency (cycles per picture) from −reach to reach and from 0 to reach."""
    radius = np.hypot(*np.mgrid[-reach : reach + 1, 0 : reach + 1])
    return _amplitude(radius, low, high, slope)


def _amplitude(radius: Field, low: float, high: float, slope: float) -> Field:
    radius = np.maximum(radius, 1e-3)
    band = 1 / (1 + (low / radius) ** 4) / (1 + (radius / high) ** 4)
    return np.asarray(band * np.maximum(radius, low) ** (-slope), dtype=np.float32)


def noise(
    rng: np.random.Generator,
    size: int,
    low: float,
    high: float,
    *,
    slope: float = 1.0,
    stretch: float = 1.0,
    angle: float = 0.0,
) -> Field:
    """Smooth random field (size, size) with mean 0 and standard deviation 1.

    Args:
        rng: Where the randomness comes from.
        size: Pixels per side.
        low: Lowest frequency, in cycles per picture.
        high: Highest frequency, in cycles per picture.
        slope: How fast the amplitude falls with frequency.
        stretch: Above 1, structures are that many times longer along their axis than across it.
        angle: Direction of that axis, in radians from x.
    """
    reach = min(int(np.ceil(3 * high)), size // 2 - 1)
    if stretch == 1:
        amplitude = _spectrum(reach, low, high, slope)
    else:
        fy, fx = np.mgrid[-reach : reach + 1, 0 : reach + 1].astype(np.float32)
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        radius = np.hypot((cos * fx + sin * fy) * stretch, cos * fy - sin * fx)
        amplitude = _amplitude(radius, low, high, slope)
    wave = rng.standard_normal((2, *amplitude.shape), np.float32) * amplitude
    spectrum = np.zeros((size, size // 2 + 1), np.complex64)
    rows = np.arange(-reach, reach + 1)
    spectrum.real[rows, : reach + 1] = wave[0]
    spectrum.imag[rows, : reach + 1] = wave[1]
    spectrum[0, 0] = 0
    field = fft.irfft2(spectrum, (size, size), overwrite_x=True)
    return np.asarray(field / max(float(field.std()), 1e-9), dtype=np.float32)


def inside(distance: NDArray[np.floating[Any]], softness: float) -> Field:
    """Coverage (0 to 1) of a shape from its signed distance (negative inside)."""
    return np.asarray(np.clip(0.5 - distance / softness, 0, 1), dtype=np.float32)


def ramp(value: Field, start: float, end: float) -> Field:
    """0 at `start`, 1 at `end`, smooth between (either may be the larger)."""
    t = np.clip((value - start) / (end - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def box(x: Field, y: Field, width: float, height: float, corner: float = 0.0) -> Field:
    """Signed distance to a box of half sides `width` and `height` with rounded corners."""
    dx = np.abs(x) - (width - corner)
    dy = np.abs(y) - (height - corner)
    outer = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return np.asarray(outer + np.minimum(np.maximum(dx, dy), 0) - corner, dtype=np.float32)


def rod(x: Field, y: Field, half: float, radius: float) -> Field:
    """Signed distance to a capsule along x: half the length of its axis, and its radius."""
    return np.asarray(np.hypot(np.maximum(np.abs(x) - half, 0), y) - radius, dtype=np.float32)


def blur(field: Field, sigma: float) -> Field:
    """Gaussian blur of the first two axes; `sigma` in pixels."""
    if sigma < 0.15:
        return field
    sigmas = (sigma, sigma) + (0.0,) * (field.ndim - 2)
    return np.asarray(
        ndimage.gaussian_filter(field, sigmas, truncate=3.0, mode="nearest"), dtype=np.float32
    )
