"""Reading image and mask files of every kind that cameras and annotation tools write."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from adpt.errors import BadImageError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


def is_image(path: Path) -> bool:
    """Whether a file's name says it is an image; hidden files are none."""
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def read_image(path: Path, class_name: str) -> Image.Image:
    """Read an image as 8-bit RGB, upright.

    Greyscale is repeated over the channels, 16 bits are scaled to 8 by their full range,
    transparent pixels become black, palettes are resolved and the EXIF rotation is applied.

    Raises:
        BadImageError: The file cannot be decoded; the message names it and its class.
    """
    image = _decode(path, class_name)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float64) / (1 if image.mode == "F" else 257)
        image = Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image.convert("RGB")


def read_mask(path: Path, class_name: str) -> NDArray[np.bool_]:
    """Read a mask, (H, W): every pixel that is not zero is a defect, whatever its value.

    A palette image counts by index, and transparency is ignored.

    Raises:
        BadImageError: The file cannot be decoded; the message names it and its class.
    """
    image = _decode(path, class_name)
    if image.mode in ("LA", "PA"):
        image = image.getchannel(0)
    elif image.mode == "RGBA":
        image = image.convert("RGB")
    values: NDArray[np.bool_] = np.asarray(image) != 0
    return np.any(values, axis=-1) if values.ndim == 3 else values


def upright_size(path: Path, class_name: str) -> tuple[int, int]:
    """Width and height of an image from its header, after the EXIF rotation.

    Raises:
        BadImageError: The header cannot be read.
    """
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (image.height, image.width) if turned else image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _bad(path, class_name, error) from error


def _decode(path: Path, class_name: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _bad(path, class_name, error) from error


def _bad(path: Path, class_name: str, error: Exception) -> BadImageError:
    return BadImageError(
        f"{path} (class '{class_name}') cannot be read as an image: {error}. Replace or remove"
        " the file, or set data.on_bad_image=skip to go on without such files."
    )
