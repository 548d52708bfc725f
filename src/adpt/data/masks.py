"""Which pixels of a mask file are defects."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from adpt.data.opening import RefusedImageError

SMALL_NUMBERS = 16
"""Up to this value all values of a mask may be numbers of defects, and up to this many of them."""
MOST = 0.5
"""Share of a picture beyond which it is more likely the background that a mask marks."""

_REACH = 5
"""Side of the square within which a drawn edge is soft."""
_NOISE = 8
"""Up to this part of the whole range lossy compression strews values around a defect."""
_FINE_NOISE, _BLOCK = 32, 8
"""That of the best quality, and the side of the blocks within which it stays."""


class Mask(NamedTuple):
    """A mask file, read.

    Attributes:
        pixels: (H, W) bool, True on defects.
        values: Values that the file holds, ascending, the largest of a pixel's colours each.
        rounded: True if they were taken for the nearest of two.
    """

    pixels: NDArray[np.bool_]
    values: tuple[float, ...]
    rounded: bool

    @property
    def marks_most(self) -> bool:
        """True if more than half of the picture is defect."""
        return float(self.pixels.mean()) > MOST


def find_defects(
    levels: NDArray[Any], alpha: NDArray[np.uint8] | None, lossy: bool, inverted: bool
) -> Mask:
    """Tell defects from the rest, by colour and transparency.

    Whatever is not black is a defect. Where values are not numbers of defects, as after lossy
    compression or smoothing, each pixel counts as the nearest of two: the darkest and the brightest
    value. Transparency counts where it varies: what is transparent is no defect, and what is not is
    one, unless it is black and other visible pixels are not.

    Args:
        levels: (H, W), the largest of each pixel's colours.
        alpha: (H, W), 0 for transparent; None for a file without.
        lossy: True if the file's compression changes values.
        inverted: True if the defects are what is left over.

    Raises:
        RefusedImageError: It holds numbers below 0, or what is no finite number.
    """
    if not 0 <= levels.min() <= levels.max() < np.inf:  # Nor is this true of nan.
        raise RefusedImageError(
            "wrong mode",
            "it holds numbers below 0, or what is no finite number; save 0 and one other value",
        )
    visible = _visible(alpha)
    values = _values(levels if visible is None else levels[visible])
    low, high = values[0], values[-1]
    rounded = len(values) > 1 and not _numbers(levels, values, visible is not None, lossy)
    pixels = levels != 0
    if rounded and 2 * low <= high:  # Else it is all of one colour, and that is not black.
        pixels = levels >= (low + high) / 2
    if visible is not None:
        painted = pixels & visible
        pixels = painted if painted.any() else visible
    return Mask(~pixels if inverted else pixels, values, rounded)


def _visible(alpha: NDArray[np.uint8] | None) -> NDArray[np.bool_] | None:
    """(H, W), False on what is transparent; None where nothing is."""
    if alpha is None:
        return None
    low, high = int(alpha.min()), int(alpha.max())
    return alpha >= (low + high) / 2 if 2 * low < high else None


def _values(levels: NDArray[Any]) -> tuple[float, ...]:
    if levels.dtype == np.uint8:
        # Many times as fast as sorting, and without a copy.
        flat = np.ascontiguousarray(levels).reshape(1, -1)
        found = np.flatnonzero(Image.fromarray(flat).histogram())
    else:
        found = np.unique(levels)
    return tuple(found.tolist())


def _numbers(
    levels: NDArray[Any], values: tuple[float, ...], on_transparent: bool, lossy: bool
) -> bool:
    """True if each value may be one that somebody gave."""
    low, high = values[0], values[-1]
    if len(values) == 2 and low == 0:
        return True
    if lossy:
        return False
    if high <= SMALL_NUMBERS and all(value == int(value) for value in values):
        return True
    if low > 0:  # The background is transparent, or there is none: its black is not quite black.
        return on_transparent
    if _is_strewn(levels, values):
        return False
    faint = (levels > low) & (levels < (low + high) / 2)
    if many := len(values) > SMALL_NUMBERS:
        faint &= levels > low + (high - low) / _NOISE
    # Soft edges lie beside something brighter; areas of a number do so with their rims alone.
    areas = faint & (levels == ndimage.maximum_filter(levels, _REACH))
    if not many and (areas & (levels == ndimage.minimum_filter(levels, 3))).any():
        return True
    share = areas.sum() / max(1, faint.sum())
    return bool(share >= (0.8 if many else 0.5))


def _is_strewn(levels: NDArray[Any], values: tuple[float, ...]) -> bool:
    """True if all values lie next to the darkest or the brightest, and the dark ones beside bright.

    So it is after lossy compression of the best quality, also of a file that was saved anew since.
    """
    low, high = values[0], values[-1]
    noise = (high - low) / _FINE_NOISE
    dark = [value for value in values if low < value <= low + noise]
    bright = [value for value in values if high - noise <= value < high]
    if not dark or not bright or len(dark) + len(bright) + 2 < len(values):
        return False
    strewn = (levels > low) & (levels <= low + noise)
    reached = ndimage.maximum_filter(levels >= high - noise, 2 * _BLOCK + 1)
    return not bool((strewn & ~reached).any())
