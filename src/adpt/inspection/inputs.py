"""The images that an inspector takes: files, pictures in memory, arrays and tensors."""

import io
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from glob import has_magic
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from torch import Tensor

from adpt.data.files import (
    EXTENSIONS,
    NOT_READ,
    folder_on_disk,
    matching,
    on_disk,
    refuse_output,
    walk_files,
)
from adpt.data.images import PLAIN, ReadingRules, as_rgb, read_image
from adpt.data.sixteen_bits import scaled
from adpt.data.transforms import Geometry
from adpt.errors import BadImageError, DataError
from adpt.running.paths import expanded
from adpt.running.whole_files import OUTPUT_MARK, is_output

log = logging.getLogger(__name__)

_THREADS = 4
_GAP = 1.5
"""How much larger than asked for a picture is left by a whole factor."""
_COPIES = 2**25
"""Pixels (of 4 bytes) of all copies of pictures that are kept at a time."""

Images = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""A folder of images (the folders in it included), a pattern such as `photos/*.png`, or paths."""

ImageInput = str | os.PathLike[str] | Image.Image | npt.NDArray[Any] | Tensor
"""A file; a picture of Pillow; an array (H, W, 3) or (H, W); or a tensor (3, H, W). The last
two are RGB unless said otherwise, uint8, uint16 of the bits in use, or floating-point in [0, 1]."""

Order = Literal["rgb", "bgr"]
"""Of the channels of arrays and tensors; "bgr" is OpenCV's."""


class Read(NamedTuple):
    """An image that was read.

    Attributes:
        path: Its file; None for a picture in memory.
        pixels: (3, H, W) uint8, of the model's size.
        original: Height and width of the picture itself, in pixels.
        copy: The picture, made smaller, where it is to be kept.
    """

    path: str | None
    pixels: Tensor
    original: tuple[int, int]
    copy: Image.Image | None = None


class UnreadImage(NamedTuple):
    """An image that could not be read.

    Attributes:
        path: Its file, or what else it was.
        error: Why.
    """

    path: str
    error: str


def read(
    image: ImageInput,
    geometry: Geometry,
    order: Order = "rgb",
    copy_side: int | None = 0,
    most: int = _COPIES,
) -> Read | UnreadImage:
    """Read one image; a broken file is a result, not an error.

    Args:
        image: A file, or a picture in memory, of which no copy is kept.
        geometry: Brings it to the model's size.
        order: Of the channels of arrays and tensors.
        copy_side: As of `read_batches`.
        most: Pixels of a copy that is kept, at most.

    Raises:
        ValueError: A picture in memory of a shape or type that `ImageInput` does not name.
    """
    if not isinstance(image, str | os.PathLike):
        picture = _in_memory(image, geometry.rules, order)
        return Read(None, geometry.image(picture), (picture.height, picture.width))
    try:
        picture = picture_of(expanded(image), geometry.rules)
        pixels, original = geometry.image(picture), (picture.height, picture.width)
        copy = None
        if copy_side != 0:
            make_smaller(picture, copy_side)
            copy = picture if picture.width * picture.height <= most else None
        return Read(os.fspath(image), pixels, original, copy)
    except BadImageError as error:
        return UnreadImage(os.fspath(image), reason(error))
    except MemoryError:
        return UnreadImage(os.fspath(image), "takes more memory than there is")


def read_batches(
    images: Iterable[ImageInput],
    geometry: Geometry,
    batch_size: int,
    order: Order = "rgb",
    copy_side: int | None = 0,
) -> Iterator[list[Read | UnreadImage]]:
    """Read images in batches, in the order given; a batch is read while its predecessor is in use.

    Args:
        images: Taken as they are needed, never all at once.
        geometry: Brings them to the model's size.
        batch_size: Images at a time.
        order: Of the channels of arrays and tensors.
        copy_side: Longest side of a copy that is kept of each file's picture, in pixels; None for
            the picture's own, 0 for no copy. Those that two batches would take more than 128 MB
            with are not kept.

    Raises:
        ValueError: `batch_size` is below 1, `copy_side` below 0, `order` is no such word; else as
            of `read`.
    """
    if order not in get_args(Order):
        raise ValueError(f"order={order!r}: choose 'rgb' or 'bgr'.")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: it must be at least 1.")
    if copy_side is not None and copy_side < 0:
        raise ValueError(f"copy_side is {copy_side}: it must be at least 0, which is for no copy.")
    rest, most = iter(images), _COPIES // (2 * batch_size)
    with ThreadPoolExecutor(_THREADS) as threads:
        ahead: list[Future[Read | UnreadImage]] = []
        while True:
            current = ahead
            ahead = [
                threads.submit(read, one, geometry, order, copy_side, most)
                for one in islice(rest, batch_size)
            ]
            if current:
                yield [one.result() for one in current]
            if not ahead:
                return


def picture_of(path: Path, rules: ReadingRules = PLAIN) -> Image.Image:
    """The picture of a file, 8-bit RGB and upright.

    Raises:
        BadImageError: The file cannot be read, or adpt wrote it.
    """
    if is_output(path.parent):
        raise BadImageError(f"adpt wrote it, as {OUTPUT_MARK} in its folder says: it is no input")
    return read_image(path, path.parent.name, rules)


def make_smaller(picture: Image.Image, longest_side: int | None) -> None:
    """Shrink a picture, in place, whose longest side is longer; None leaves it as it is.

    For eyes alone: large ones are first shrunk by a whole factor, in half the time of the filter
    alone; values differ from that by a few of 255.
    """
    if longest_side is not None:
        picture.thumbnail((longest_side, longest_side), reducing_gap=_GAP)


def reason(error: BadImageError) -> str:
    """Why an image could not be read, without what only a data set's user can do about it."""
    cause = error.__cause__ or error
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return f"cannot be read as an image: {str(cause) or type(cause).__name__}"


def find_images(where: str | os.PathLike[str], option: str) -> list[Path]:
    """Image files: one file, all in a folder and the folders in it, or all that a pattern names.

    What is left out is said in `adpt.data.files`.

    Args:
        where: A file, a folder, or a pattern such as `photos/*.png` or `photos/**/*.png`.
        option: What the user gave it as, for messages.

    Returns:
        The files, in the order of their names.

    Raises:
        DataError: There is no such file or folder, or no image in it.
    """
    path = expanded(where)
    try:
        there = path.exists()
    except OSError as error:
        raise DataError(f"{option}={where} cannot be looked at: {error.strerror}.") from error
    if not there:
        path = folder_on_disk(path) or on_disk([path]).get(path, path)
    if path.is_dir():
        refuse_output(path, option)
        return _in_folder(path, option)
    if path.is_file():
        refuse_output(path.parent, option)
        return [path]
    if path.exists():
        raise DataError(f"{option}={where} is no ordinary file. Give a folder, or an image.")
    if has_magic(str(path)):
        if found := matching(path):
            return found
        folder = next(parent for parent in path.parents if parent.exists())
        hint = "" if "[" not in str(path) else " [ab] stands for one character, a or b."
        raise DataError(
            f"{option}={where}: no image file fits that pattern. Looked in {folder.absolute()},"
            f" hidden folders and what adpt wrote left out.{hint}"
        )
    raise DataError(
        f"{option}={where}: there is no such file or folder. Give a folder of images, one image,"
        " or a pattern such as 'photos/*.png'."
    )


def image_files(images: Images, option: str) -> list[Path]:
    """The files that `Images` stands for, each once.

    Raises:
        DataError: There are none.
    """
    if isinstance(images, str | os.PathLike):
        return find_images(images, option)
    paths = list(dict.fromkeys(expanded(path) for path in images))
    if not paths:
        raise DataError(f"{option}: the list of images is empty.")
    return paths


def _in_folder(path: Path, option: str) -> list[Path]:
    found, left_out = [], Counter[str]()
    for folder, names in walk_files(path):
        found += [folder / name for name in names]
        endings = (file.suffix[1:].lower() for file in folder.iterdir())
        left_out.update(ending for ending in endings if ending in NOT_READ)
    if left_out:
        log.warning(
            "%s=%s: %d files are left out, of types that are not read (%s). Those that are: %s",
            option,
            path,
            left_out.total(),
            ", ".join(f"{ending}: {count}" for ending, count in sorted(left_out.items())),
            ", ".join(sorted(EXTENSIONS)),
        )
    if not found:
        raise DataError(
            f"{option}={path}: there is no image in that folder. Hidden folders and what adpt wrote"
            " are left out."
        )
    return sorted(found)


def _in_memory(
    image: Image.Image | npt.NDArray[Any] | Tensor, rules: ReadingRules, order: Order
) -> Image.Image:
    bits = rules.bit_depth("") or 16
    if isinstance(image, Image.Image):
        return as_rgb(ImageOps.exif_transpose(image), bits)
    if isinstance(image, Tensor):
        # NumPy has no bfloat16.
        array = (image.float() if image.is_floating_point() else image).detach().cpu().numpy()
        if array.ndim != 3 or len(array) != 3:
            raise ValueError(f"A tensor is (3, H, W), not {array.shape}.")
        array = array.transpose(1, 2, 0)
    else:
        array = np.asarray(image)
    if array.ndim != 2 and array.shape[2:] != (3,):
        raise ValueError(f"An array is (H, W, 3) or (H, W), not {array.shape}.")
    if order == "bgr" and array.ndim == 3:
        array = array[..., ::-1]
    return as_rgb(Image.fromarray(_eight_bits(array, bits)))


def _eight_bits(array: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint8]:
    """Pixels of 8 bits, of 16 or in [0, 1], as pixels of 8 bits."""
    if not array.size:
        raise ValueError(f"A picture of shape {array.shape} has no pixels.")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    low, high = float(array.min()), float(array.max())
    if array.dtype == np.uint16:
        if high >= 2**bits:
            raise ValueError(
                f"A pixel of {high:g} takes more than the {bits} bits that the good images use: fit"
                " with bit_depth=16, for instance."
            )
        return scaled(array, bits)
    if array.dtype.kind != "f":
        raise ValueError(f"Pixels are uint8, uint16 or floating-point, not {array.dtype}.")
    if not 0 <= low <= high <= 1:
        raise ValueError(f"Floating-point pixels lie in [0, 1], not in [{low:g}, {high:g}].")
    return np.round(array.astype(np.float32) * np.float32(255)).astype(np.uint8)


def from_stdin() -> Iterator[str]:
    """The lines of standard input, the next only when it is asked for.

    Raises:
        DataError: There is none.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        # Names of files are bytes: one that is no text must not end the stream.
        sys.stdin.reconfigure(
            encoding=sys.getfilesystemencoding(), errors=sys.getfilesystemencodeerrors()
        )
    empty = True
    for line in sys.stdin:
        if path := line.rstrip("\r\n"):
            empty = False
            yield path
    if empty:
        raise DataError("images=-: standard input is empty. Give one path of an image a line.")
