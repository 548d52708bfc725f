"""Pictures of images, masks and anomaly maps: arrays in, arrays and PNG files out."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from adpt.nearest import slices
from adpt.running.whole_files import replacing

Picture = npt.NDArray[np.uint8]
_Numbers = npt.NDArray[Any]

_COLOURS = "inferno"
_FAINT, _STRONG = 0.25, 0.7
_SHADES = 2**12  # A multiple of the colour map's own 256.
_GREYS = 3 * 255 + 1
_CYAN = (0, 229, 255)
_GAP = 8
_STRIP = 24
_FONT_SIZE = 15


def score_range(maps: npt.ArrayLike, low: float = 0.5, high: float = 0.995) -> tuple[float, float]:
    """The scores that `heatmap` shows darkest and brightest, from all maps of a class.

    Maps of own and of pretrained features have scores of different size, so each kind is scaled by
    its own quantiles, over all the class's test maps: colours compare places and images of one
    kind, never one kind's scores with the other's.

    Args:
        maps: Scores of any shape, at least one.
        low: Quantile shown darkest; half of the pixels, nearly all normal, are left dark.
        high: Quantile shown brightest, so that a few extreme pixels don't dim the others.

    Returns:
        vmin and vmax for `heatmap`.
    """
    vmin, vmax = np.quantile(np.asarray(maps, dtype=np.float32), (low, high))
    return float(vmin), float(vmax)


def heatmap(image: Picture, score_map: npt.ArrayLike, vmin: float, vmax: float) -> Picture:
    """Lay a perceptually uniform colour map over an image, fainter where scores are low.

    Args:
        image: (H, W, 3), uint8.
        score_map: (H, W), finite.
        vmin: Score shown darkest, as all below it.
        vmax: Score shown brightest, as all above it; at or below `vmin` nothing stands out.

    Returns:
        (H, W, 3), uint8.

    Raises:
        ValueError: Shapes that don't match, or scores that are not finite.
    """
    _check_picture(image, np.shape(score_map))
    return np.array(heatmap_of(Image.fromarray(image), score_map, vmin, vmax))


def heatmap_of(
    picture: Image.Image, score_map: npt.ArrayLike, vmin: float, vmax: float
) -> Image.Image:
    """As `heatmap`, from an RGB picture to another.

    Raises:
        ValueError: Scores that are not finite.
    """
    scores = np.asarray(score_map)
    if not np.isfinite(scores).all():
        raise ValueError("score_map holds nan or infinite scores")
    # The sums of channels, from pixels of four bytes, in few passes over whole numbers of 32 bits.
    pixels = np.frombuffer(picture.tobytes("raw", "RGBX"), "<u4").reshape(scores.shape)
    places = pixels & 0xFF00FF
    places *= 0x10001
    places >>= 16
    pixels = pixels >> 8
    pixels &= 0xFF
    places += pixels
    if (span := vmax - vmin) > 0:
        shares = scores.astype(np.float64)
        shares -= vmin
        shares *= _SHADES / span
        shades = np.clip(shares, 0, _SHADES - 1, out=shares).astype(np.int32)
        shades *= _GREYS
        places += shades.view("<u4")
    return Image.frombytes("RGB", picture.size, _blends().take(places), "raw", "RGBX")


def outline(
    image: Picture, mask: npt.ArrayLike, colour: tuple[int, int, int] = _CYAN, width: int = 2
) -> Picture:
    """A line around a mask, outside of it, so that what it marks stays visible.

    Args:
        image: (H, W, 3), uint8.
        mask: (H, W), non-zero inside.
        colour: Red, green, blue in [0, 255].
        width: Of the line, in pixels.

    Returns:
        (H, W, 3), uint8; where the mask leaves the image the line follows the edge.

    Raises:
        ValueError: Shapes that don't match.
    """
    inside = np.asarray(mask) != 0
    _check_picture(image, inside.shape)
    grown = ndimage.maximum_filter(inside, 2 * width + 1, mode="constant")
    frame = np.ones_like(inside)
    frame[width:-width, width:-width] = False
    outlined = image.copy()
    outlined[(grown & ~inside) | (inside & frame)] = colour
    return outlined


def panel(pictures: Sequence[tuple[str, npt.ArrayLike]]) -> Picture:
    """Set pictures side by side, each under its caption, on white.

    Args:
        pictures: Caption and picture, usually image, mask, own and pretrained: (H, W, 3) uint8, or
            (H, W), a mask that is shown white on black. All of one height and width.

    Returns:
        (H + caption, width of all, 3), uint8. Pictures narrower than a caption are enlarged by the
        smallest whole number that gives each caption its room.

    Raises:
        ValueError: No pictures, or pictures of different sizes.
    """
    shown = [_as_picture(np.asarray(picture)) for _, picture in pictures]
    sizes = {picture.shape for picture in shown}
    if len(sizes) != 1:
        raise ValueError(f"a panel takes pictures of one size, got {sorted(sizes)}")
    widest = max(_font().getlength(caption) for caption, _ in pictures)
    scale = max(1, math.ceil(widest / shown[0].shape[1]))
    shown = [picture.repeat(scale, 0).repeat(scale, 1) for picture in shown]
    height, width, _ = shown[0].shape
    sheet = Image.new("RGB", (len(shown) * (width + _GAP) - _GAP, height + _STRIP), "white")
    draw = ImageDraw.Draw(sheet)
    for position, (caption, _) in enumerate(pictures):
        left = position * (width + _GAP)
        draw.text((left + width / 2, _STRIP / 2), caption, "black", _font(), anchor="mm")
        sheet.paste(Image.fromarray(shown[position]), (left, _STRIP))
    return np.asarray(sheet)


def save_png(picture: Picture, path: str | Path) -> None:
    """Write a picture, whole or not at all.

    Args:
        picture: (H, W, 3) or (H, W), uint8.
        path: The file, replaced if it exists.

    Raises:
        UserError: The file could not be written.
    """
    with replacing(Path(path)) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def _as_picture(picture: _Numbers) -> Picture:
    if picture.ndim == 2:
        picture = np.where(picture != 0, np.uint8(255), np.uint8(0))[..., None].repeat(3, axis=2)
    _check_picture(picture, picture.shape[:2])
    return picture


def _check_picture(picture: _Numbers, size: tuple[int, ...]) -> None:
    if picture.dtype != np.uint8 or picture.shape != (*size, 3) or len(size) != 2:
        raise ValueError(
            f"a picture is (H, W, 3) uint8 and its map (H, W); got {picture.shape} {picture.dtype}"
            f" and {size}"
        )


@functools.cache
def _blends() -> npt.NDArray[np.uint32]:
    """(`_SHADES` x `_GREYS`,) pixels of `heatmap` by score and summed channels, 12 MB."""
    import matplotlib

    share = (np.arange(_SHADES) + 0.5) / _SHADES
    alpha = _FAINT + (_STRONG - _FAINT) * share
    faint = ((1 - alpha) / 3).astype(np.float32)[:, None]
    # The half makes rounding of what follows, which cuts off.
    colours = alpha[:, None] * 255 * matplotlib.colormaps[_COLOURS](share)[:, :3] + 0.5
    greys = np.arange(_GREYS, dtype=np.float32)
    blends = np.zeros((_SHADES, _GREYS, 4), dtype=np.uint8)
    for few in slices(_SHADES, 32):
        below = faint[few] * greys
        for channel, colour in enumerate(colours.T.astype(np.float32)):
            blends[few, :, channel] = below + colour[few, None]
    return blends.view(np.uint32).ravel()


@functools.cache
def _font() -> Any:
    return ImageFont.load_default(_FONT_SIZE)
