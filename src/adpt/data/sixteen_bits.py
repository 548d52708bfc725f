"""Files of 16-bit numbers: how many of the bits are in use, and how the numbers become 8 bits."""

import re
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from adpt.data.opening import RefusedImageError

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras give."""

_LITTLE = sys.byteorder == "little"
_LOW_BYTES = {
    f"{mode};16{order}": f"{mode};16{'B' if little else 'L'}"
    for mode in ("RGB", "RGBA", "RGBX", "CMYK")
    for order, little in (("L", True), ("B", False), ("N", _LITTLE))
}
"""How Pillow is told to unpack the lower byte of each number, where by itself it takes the upper
one and drops this."""
GREY_AND_ALPHA = "LA;16B"

# SMaxSampleValue, MaxSampleValue and DNG's WhiteLevel.
_LARGEST_TAGS = (341, 281, 50717)
_PNG_START = 8


def raw_mode(image: ImageFile.ImageFile) -> str:
    """How an image that is not decoded yet is going to be unpacked, as Pillow calls it."""
    arguments = image.tile[0].args if image.tile else ""
    name = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return name if isinstance(name, str) else ""


def is_grey(image: Image.Image) -> bool:
    """True if Pillow keeps all bits of an image: it does of those that have no colour."""
    return image.mode == "I" or image.mode.startswith("I;16")


def is_sixteen(image: ImageFile.ImageFile) -> bool:
    """True if an image that is not decoded yet holds integers of more than 8 bits."""
    raw = raw_mode(image)
    return is_grey(image) or raw in _LOW_BYTES or raw == GREY_AND_ALPHA


def loses_bits(image: ImageFile.ImageFile) -> bool:
    """True if Pillow reads 16-bit numbers of this image, plane by plane, as if they had 8."""
    bits = getattr(image, "tag_v2", {}).get(258, (8,))
    return max(bits) == 16 and len(bits) > 1 and raw_mode(image) in {"R", "G", "B", "A", "X"}


def begins_with_white(image: ImageFile.ImageFile) -> bool:
    """True if 0 stands for white in 16-bit numbers, which Pillow does not heed."""
    return is_grey(image) and getattr(image, "tag_v2", {}).get(262) == 0


def unpack_low_bytes(image: ImageFile.ImageFile) -> None:
    """Let the decoder give the lower byte of each number; grey and alpha as (L, l, A, a)."""
    raw = raw_mode(image)
    swapped = "RGBA" if raw == GREY_AND_ALPHA else _LOW_BYTES[raw]
    for number, tile in enumerate(image.tile):
        arguments: Any = tile.args
        changed = (swapped, *arguments[1:]) if isinstance(arguments, tuple) else swapped
        image.tile[number] = tile._replace(args=changed)


def told_depth(image: ImageFile.ImageFile) -> int | None:
    """Bits in use, by the file's own metadata: 8 to 16; None where it does not tell.

    PNG's sBIT; TIFF's BitsPerSample below 16, its largest sample value where that is all ones (by
    the standard it may as well be the largest one that occurs), and OME's SignificantBits.
    """
    told: list[int] = []
    if image.format == "PNG":
        told = list(_significant_bits(image))
    elif image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        told = [bits for bits in tags.get(258, ()) if bits < 16]
        for tag in _LARGEST_TAGS:
            told += [value.bit_length() for value in _whole(tags.get(tag)) if _all_ones(value)]
        described = re.findall(r'SignificantBits="(\d+)"', str(tags.get(270, "")))
        told += [int(bits) for bits in described]
    told = [bits for bits in told if 8 <= bits <= 16]
    return max(told, default=None)


def needed_depth(largest: int, told: int | None) -> int:
    """Bits that a file's numbers take.

    A number beyond what the file tells means that its numbers were stretched to 16 bits, as PNG's
    standard wants it.
    """
    if told is not None:
        return told if largest < 2**told else 16
    return next(bits for bits in DEPTHS if largest < 2**bits)


def eight_bits(
    samples: NDArray[np.integer[Any]], image: Image.Image, bits: int, key: Any
) -> Image.Image:
    """Scale 16-bit numbers of an image to 8, with its transparency.

    Raises:
        RefusedImageError: There are others than the bits in use can hold.
    """
    low, high = int(samples.min(initial=0)), int(samples.max(initial=0))
    if low < 0 or high > 65535:
        raise RefusedImageError("wrong mode", "it holds numbers beyond 16 bits; save 8 or 16 bits")
    if high >= 2**bits:
        raise RefusedImageError(
            "beyond the bit depth",
            f"it holds the value {high}, beyond the {bits} bits that its set uses; give the"
            " camera's as data.bit_depth, or data.bit_depth=16 for the whole range",
        )
    shown = scaled(samples, bits)
    if samples.shape[2:] == (4,):
        return Image.frombytes(image.mode, image.size, shown.tobytes())
    eight = Image.fromarray(shown)
    if (transparency := alpha(samples, image, key)) is not None:
        eight.putalpha(Image.fromarray(transparency))
    return eight


def alpha(
    samples: NDArray[np.integer[Any]], image: Image.Image, key: Any
) -> NDArray[np.uint8] | None:
    """(H, W), what a 16-bit image says of transparency; None where it is silent."""
    if image.mode == "RGBA":
        return np.asarray(image)[..., 3]
    if key is None:
        return None
    opaque = samples != np.asarray(key)
    opaque = opaque if opaque.ndim == 2 else opaque.any(axis=-1)
    return np.where(opaque, np.uint8(255), np.uint8(0))


def scaled(values: NDArray[np.integer[Any]], bits: int) -> NDArray[np.uint8]:
    """Numbers of so many bits, none beyond, as numbers of 8 bits, rounded."""
    largest = 2**bits - 1
    table = (np.arange(largest + 1) * 255 + largest // 2) // largest
    return np.take(table.astype(np.uint8), values)


def _significant_bits(image: ImageFile.ImageFile) -> Iterable[int]:
    """PNG's sBIT, a number for each channel, which Pillow does not keep."""
    file = image.fp
    if file is None:
        return ()
    back = file.tell()
    try:
        file.seek(_PNG_START)
        while len(head := file.read(8)) == 8:
            length, kind = int.from_bytes(head[:4]), head[4:]
            if kind == b"sBIT":
                return file.read(length)
            if kind == b"IDAT":
                return ()
            file.seek(length + 4, 1)
        return ()
    finally:
        file.seek(back)


def _whole(values: object) -> list[int]:
    several = values if isinstance(values, tuple) else (values,)
    return [value for value in several if isinstance(value, int)]


def _all_ones(value: int) -> bool:
    return value & (value + 1) == 0
