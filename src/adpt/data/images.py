"""Reading image and mask files of every kind that cameras and annotation tools write."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from adpt.data import sixteen_bits as sixteen
from adpt.data.masks import Mask, find_defects
from adpt.data.opening import RefusedImageError, is_lossy, opened
from adpt.errors import BadImageError, UserError
from adpt.running.names import printable

log = logging.getLogger(__name__)

MAX_MEGAPIXELS = 1000.0
"""A picture of that many takes 3 GB."""

_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


@dataclass(frozen=True)
class ReadingRules:
    """Rules that decide over the numbers read from a file.

    Attributes:
        bit_depths: Bits in use of files of 16-bit numbers, by how the class's name begins; of other
            classes' files their metadata tells, else all 16 are.
        inverted: How the names of classes begin whose masks mark what is sound.
        max_megapixels: Files whose header claims more are not decoded.
    """

    bit_depths: Mapping[str, int] = field(default_factory=dict)
    inverted: tuple[str, ...] = ()
    max_megapixels: float = MAX_MEGAPIXELS

    def bit_depth(self, class_name: str) -> int | None:
        """Bits in use of a class's 16-bit files, 8 to 16; None for what each file tells."""
        depths = self.bit_depths.items()
        return next((bits for begins, bits in depths if class_name.startswith(begins)), None)

    def inverts(self, class_name: str) -> bool:
        """True if a class's masks mark what is sound."""
        return class_name.startswith(self.inverted)


def reading_rules(bit_depth: int | None, invert_masks: bool, max_megapixels: float) -> ReadingRules:
    """The rules that a user's options make, for all classes alike.

    Raises:
        UserError: One of them is out of its range.
    """
    if bit_depth is not None and (type(bit_depth) is not int or not 8 <= bit_depth <= 16):
        raise UserError(
            f"data.bit_depth={bit_depth}: a whole number from 8 to 16, the bits that the camera"
            " gives, or null for what the images tell."
        )
    if not isinstance(invert_masks, bool):
        raise UserError(f"data.invert_masks={invert_masks}: true or false.")
    number = isinstance(max_megapixels, int | float) and not isinstance(max_megapixels, bool)
    if not number or not max_megapixels > 0:
        raise UserError(f"max_megapixels={max_megapixels} must be a number above 0.")
    depths = {} if bit_depth is None else {"": bit_depth}
    return ReadingRules(depths, ("",) if invert_masks else (), max_megapixels)


PLAIN = ReadingRules()
"""Of files that belong to no set."""


class _Decoded(NamedTuple):
    """A decoded file, upright.

    Attributes:
        image: As Pillow has it.
        samples: (H, W) or (H, W, C), the numbers of a 16-bit file; None for any other.
        told: Bits that are in use of these, as the file tells.
        key: The colour that stands for transparent, in numbers of these.
        lossy: True if the compression changes values.
    """

    image: Image.Image
    samples: NDArray[np.integer[Any]] | None
    told: int | None
    key: Any
    lossy: bool


def read_image(path: Path, class_name: str, rules: ReadingRules = PLAIN) -> Image.Image:
    """Read an image as 8-bit RGB, upright.

    Greyscale is repeated over the channels, 16 bits are scaled to 8 by the bits in use, transparent
    pixels become black, palettes are resolved, other colour models (CMYK, YCbCr) converted, and the
    EXIF rotation is applied.

    Raises:
        BadImageError: The file cannot be decoded, is too large, holds several pictures, or numbers
            whose range nobody knows (floating point, or beyond the bits in use); the message names
            it and its class.
    """
    with _named(path, class_name):
        decoded = _decode(path, rules.max_megapixels)
        image = decoded.image
        if decoded.samples is not None:
            bits = rules.bit_depth(class_name) or decoded.told or _all_bits(path)
            image = sixteen.eight_bits(decoded.samples, image, bits, decoded.key)
        return as_rgb(image)


_not_told: list[Path] = []


def _all_bits(path: Path) -> int:
    """16, for want of anything that tells the bits in use; said of the first such file."""
    if not _not_told:
        _not_told.append(path)
        log.warning(
            "%s holds 16-bit numbers, and neither it nor normal images tell how many bits are in"
            " use: all 16 are taken. Say how many with data.bit_depth, such as 12, where they are"
            " fewer",
            printable(path),
        )
    return 16


def as_rgb(image: Image.Image, bits: int = 16) -> Image.Image:
    """An upright picture of any mode as 8-bit RGB, converted as `read_image` says.

    Of 16-bit numbers so many bits are in use.

    Raises:
        RefusedImageError: It holds numbers whose range nobody knows.
    """
    if image.mode == "F":
        raise RefusedImageError(
            "wrong mode", "it holds floating-point numbers of unknown range; save 8 or 16 bits"
        )
    if sixteen.is_grey(image):
        image = sixteen.eight_bits(np.asarray(image), image, bits, image.info.get("transparency"))
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def read_mask(path: Path, class_name: str, rules: ReadingRules = PLAIN) -> NDArray[np.bool_]:
    """Read a mask, (H, W), upright: True on defects, as `masks.find_defects` tells them.

    Raises:
        BadImageError: As of `read_image`.
    """
    return mask_of(path, class_name, rules).pixels


def mask_of(path: Path, class_name: str, rules: ReadingRules = PLAIN) -> Mask:
    """Read a mask, with what there is to say of it.

    Raises:
        BadImageError: As of `read_image`.
    """
    with _named(path, class_name):
        decoded = _decode(path, rules.max_megapixels)
        colours, alpha = _colours(decoded)
        levels = colours.max(axis=-1) if colours.ndim == 3 else colours
        return find_defects(levels, alpha, decoded.lossy, rules.inverts(class_name))


def upright_size(path: Path, class_name: str) -> tuple[int, int]:
    """Width and height of an image from its header, after the EXIF rotation.

    Raises:
        BadImageError: The header cannot be read.
    """
    with _named(path, class_name), opened(path) as image:
        if image.format == "TIFF":
            return image.size  # Pillow has turned it already.
        # PNG's own `getexif` would decode the whole picture.
        turned = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return (image.height, image.width) if turned else image.size


def depth_in_use(path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> int | None:
    """Bits that the numbers of a 16-bit file take, 8 to 16; None for any other file.

    Whatever cannot be read is any other file here: it is named where it is read.
    """
    if not path.is_file():  # A pipe would never end.
        return None
    try:
        with path.open("rb") as file:
            start = file.read(25)
        # A header is quickly looked at, and most are those of 8 bits.
        if start[:4] == b"\x89PNG" and start[24:] != b"\x10":
            return None
        with opened(path) as image:
            if not sixteen.is_sixteen(image):
                return None
        decoded = _decode(path, max_megapixels)
        if decoded.samples is None:
            return None
        return sixteen.needed_depth(int(decoded.samples.max()), decoded.told)
    except Exception:
        return None


def _decode(path: Path, max_megapixels: float) -> _Decoded:
    with opened(path, max_megapixels) as image:
        raw, is_sixteen = sixteen.raw_mode(image), sixteen.is_sixteen(image)
        if sixteen.loses_bits(image):
            raise RefusedImageError(
                "wrong mode", "its 16-bit colours lie in planes; save them pixel by pixel"
            )
        if sixteen.begins_with_white(image):
            raise RefusedImageError(
                "wrong mode", "0 stands for white in its 16-bit numbers; save it with 0 for black"
            )
        told = sixteen.told_depth(image) if is_sixteen else None
        lossy = is_lossy(image, path)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    key = image.info.get("transparency")
    if not is_sixteen:
        return _Decoded(image, None, None, None, lossy)
    if sixteen.is_grey(image):
        return _Decoded(image, np.asarray(image), told, key, lossy)
    with opened(path, max_megapixels) as second:
        sixteen.unpack_low_bytes(second)
        second.load()
        ImageOps.exif_transpose(second, in_place=True)
    upper, lower = np.asarray(image), np.asarray(second)
    if raw == sixteen.GREY_AND_ALPHA:
        samples = lower[..., 0].astype(np.uint16) << 8 | lower[..., 1]
    else:
        samples = upper.astype(np.uint16) << 8 | lower
        samples = samples[..., :3] if image.mode == "RGBA" else samples
    return _Decoded(image, samples, told, key, lossy)


def _colours(decoded: _Decoded) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """Colours (H, W) or (H, W, 3), 0 for black, and alpha (H, W) or None for a file without."""
    image, samples = decoded.image, decoded.samples
    if samples is not None and image.mode != "CMYK":
        return samples, sixteen.alpha(samples, image, decoded.key)
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        pixels = np.asarray(image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA"))
        return pixels[..., :3], pixels[..., 3]
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB", "F"):
        image = image.convert("RGB")
    return np.asarray(image), None


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
