"""Reading image and mask files of every kind that cameras and annotation tools write."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from adpt.errors import BadImageError

COUNTED_AS_STORED = ("1", "L", "P", "I", "F", "RGB")


def read_image(path: Path, class_name: str) -> Image.Image:
    """Read an image as 8-bit RGB, upright.

    Greyscale is repeated over the channels, 16 bits are scaled to 8 by their full range,
    transparent pixels become black, palettes are resolved, other colour models (CMYK, YCbCr)
    converted, and the EXIF rotation is applied.

    Raises:
        BadImageError: The file cannot be decoded, or holds numbers whose range nobody knows
            (floating point, or 32 bits and beyond 65535); the message names it and its class.
    """
    with _named(path, class_name):
        return as_rgb(_decode(path))


def as_rgb(image: Image.Image) -> Image.Image:
    """An upright picture as 8-bit RGB, converted as `read_image` says.

    Raises:
        ValueError: It holds numbers whose range nobody knows.
    """
    if image.mode == "F":
        raise ValueError("it holds floating-point numbers of unknown range; save 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise ValueError("it holds numbers beyond 16 bits; save 8 or 16 bits")
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def read_mask(path: Path, class_name: str) -> NDArray[np.bool_]:
    """Read a mask, (H, W): every pixel that is not zero is a defect, whatever its value.

    A palette image counts by index, and transparency is ignored.

    Raises:
        BadImageError: The file cannot be decoded; the message names it and its class.
    """
    values: NDArray[np.bool_] = mask_values(path, class_name) != 0
    return np.any(values, axis=-1) if values.ndim == 3 else values


def mask_values(path: Path, class_name: str) -> NDArray[np.generic]:
    """The numbers that a mask file holds, (H, W) or (H, W, 3), upright.

    Raises:
        BadImageError: The file cannot be decoded; the message names it and its class.
    """
    with _named(path, class_name):
        image = _decode(path)
        if image.mode in ("LA", "PA"):
            image = image.getchannel(0)
        elif image.mode not in COUNTED_AS_STORED and not image.mode.startswith("I;16"):
            image = image.convert("RGB")
        return np.asarray(image)


def upright_size(path: Path, class_name: str) -> tuple[int, int]:
    """Width and height of an image from its header, after the EXIF rotation.

    Raises:
        BadImageError: The header cannot be read.
    """
    with _named(path, class_name), Image.open(path) as image:
        if image.format == "TIFF":
            return image.size  # Pillow has turned it already.
        # PNG's own `getexif` would decode the whole picture.
        turned = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return (image.height, image.width) if turned else image.size


def _decode(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return image


@contextmanager
def _named(path: Path, class_name: str) -> Iterator[None]:
    """Name file and class in whatever a decoder raises: damaged files bring out any exception."""
    try:
        yield
    except Exception as error:
        raise BadImageError(
            f"{path} (class '{class_name}') cannot be read as an image:"
            f" {str(error) or type(error).__name__}. Replace or remove the file, or set"
            " data.on_bad_image=skip to go on without such files."
        ) from error
