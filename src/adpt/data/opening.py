"""Opening image files: the right one of several pictures, and none that is too large."""

import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile


class RefusedImageError(ValueError):
    """A file that could be decoded, but should not be taken for a picture as it is.

    Attributes:
        kind: The sort of fault.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@contextmanager
def opened(path: Path, max_megapixels: float | None = None) -> Iterator[ImageFile.ImageFile]:
    """Open a file and read its header.

    Pillow's own limit of pixels, which is one for the whole process, does not apply.

    Args:
        path: The file.
        max_megapixels: How many it may claim to have; None for any number.

    Yields:
        The picture, not decoded. Of a file with previews it is the picture itself.

    Raises:
        RefusedImageError: It claims more pixels, the file holds several pictures, or is no ordinary
            file: to wait for a pipe would have no end.
        OSError: It cannot be read, or is no image.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no ordinary file"
        raise RefusedImageError("no file", f"it is {kind}")
    with path.open("rb") as file:
        image = _first_to_take(file, path)
        if max_megapixels is not None and image.width * image.height > max_megapixels * 1e6:
            raise RefusedImageError(
                "enormous image",
                f"its header claims {image.width}x{image.height} pixels, and max_megapixels is"
                f" {max_megapixels:g}; make it smaller, or raise max_megapixels if it is genuine",
            )
        if (pages := _turn_to_picture(image)) > 1:
            raise RefusedImageError(
                "several pictures",
                f"it holds {pages} pictures; save each as a file of its own",
            )
        yield image


def is_lossy(image: ImageFile.ImageFile, path: Path) -> bool:
    """True if the compression of a file that was opened changes values."""
    if image.format == "WEBP":
        content, place = path.read_bytes(), 12
        while (kind := content[place : place + 4]) not in (b"VP8 ", b"VP8L", b""):
            place += 8 + (int.from_bytes(content[place + 4 : place + 8], "little") + 1) // 2 * 2
        return kind == b"VP8 "
    return image.format in ("JPEG", "MPO", "AVIF") or image.info.get("compression") == "jpeg"


def _first_to_take(file: BinaryIO, path: Path) -> ImageFile.ImageFile:
    start = file.read(16)
    if not start:
        raise RefusedImageError("empty file", "it holds no byte")
    start = start.ljust(16, b"\0")  # Some formats look further than a fragment goes.
    for name in _formats():
        factory, accepts = Image.OPEN[name]
        accepted = accepts is None or accepts(start)
        # An answer in words says why not.
        if accepted and not isinstance(accepted, str):
            file.seek(0)
            try:
                return factory(file, str(path))
            except Image.DecompressionBombError as error:
                raise RefusedImageError(
                    "enormous image",
                    "files of its format are not read at that size; save it as PNG",
                ) from error
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue
    raise UnidentifiedImageError(f"cannot identify image file {str(path)!r}")


def _formats() -> Iterator[str]:
    """Names of Pillow's formats, the usual ones first; the others take long to import."""
    Image.preinit()
    yield from ("PNG", "JPEG", "BMP", TiffImageFile.format, WebPImageFile.format)
    Image.init()
    yield from Image.ID


def _turn_to_picture(image: ImageFile.ImageFile) -> int:
    """Go to a file's first picture that is no preview of another; how many such there are."""
    frames = getattr(image, "n_frames", 1) if image.format != "TIFF" else 1
    if image.format == "TIFF":
        whole = []
        for number in count():
            try:
                image.seek(number)
            except Exception:  # The last one is behind, or the file leads nowhere.
                break
            tags = image.tag_v2  # type: ignore[attr-defined]
            # Reduced, or a mask of transparency; in the old tag, reduced.
            if not tags.get(254, 0) & 5 and tags.get(255) != 2:
                whole.append(number)
        image.seek(whole[0] if whole else 0)
        return len(whole)
    if image.format == "MPO":
        entries = image.mpinfo[0xB002][1:]  # type: ignore[attr-defined]
        kinds = [str(entry["Attribute"]["MPType"]) for entry in entries]
        return 1 + sum(kind.startswith("Multi-Frame") for kind in kinds)
    # A still picture of an animation stands for all of it where nothing moves.
    return int(frames) - bool(getattr(image, "default_image", False))
