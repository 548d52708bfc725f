"""Examining the files of one sample: whether they can be read, and fit each other."""

import errno
import hashlib
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from adpt.data import Sample
from adpt.data.images import mask_values, read_image
from adpt.errors import BadImageError
from adpt.examination.finding import Finding, reason

T = TypeVar("T")

BINARY = 2
# VisA's masks hold the numbers of the defects that a picture shows.
DEFECT_NUMBERS = 16
AGAIN = "copy or unpack it anew."


@dataclass
class Examined:
    """A sample after its files were read.

    Attributes:
        sample: The image and its mask.
        findings: What is wrong with the two.
        digest: SHA-256 of the upright 8-bit RGB pixels and their shape; None where unreadable.
        size: Width and height, upright; None where unreadable.
        mode: Pillow's mode of the file; "" where unreadable.
    """

    sample: Sample
    findings: list[Finding] = field(default_factory=list)
    digest: bytes | None = None
    size: tuple[int, int] | None = None
    mode: str = ""

    def add(self, kind: str, path: Path, message: str) -> None:
        """Note a fault of the image or its mask."""
        self.findings.append(Finding(kind, path, message, self.sample.class_name))


def examine_sample(sample: Sample, max_megapixels: float, numbered_masks: bool) -> Examined:
    """Read an image and its mask as training would, and note every fault.

    Args:
        sample: The image, and its mask if it has one.
        max_megapixels: Files whose header claims more are not decoded.
        numbered_masks: Whether masks may hold numbers of defects in place of one value.
    """
    found = Examined(sample)
    mode = _check_header(found, sample.image, max_megapixels)
    if mode is not None:
        picture = _decoded(found, sample.image, mode, read_image)
        if picture is not None:
            pixels = np.asarray(picture)
            digest = hashlib.sha256(str(pixels.shape).encode())
            digest.update(np.ascontiguousarray(pixels).data)
            found.digest, found.size, found.mode = digest.digest(), picture.size, mode
    if sample.mask is not None:
        mode = _check_header(found, sample.mask, max_megapixels)
        values = None if mode is None else _decoded(found, sample.mask, mode, mask_values)
        if values is not None:
            _check_mask(found, sample.mask, values, numbered_masks)
    return found


def _check_header(found: Examined, path: Path, max_megapixels: float) -> str | None:
    """The mode that a file's header tells; None, with a fault noted, where that is the end."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            found.add("unreadable", path, "is no ordinary file: remove it.")
            return None
        if status.st_size == 0:
            found.add("empty file", path, f"holds no byte: {AGAIN}")
            return None
        with Image.open(path) as image:
            (width, height), mode = image.size, image.mode
    except FileNotFoundError:
        found.add("missing file", path, f"is not there, or is a link that leads nowhere: {AGAIN}")
    except Image.DecompressionBombError as error:
        found.add("enormous image", path, f"was not decoded: {reason(error)}.")
    except Exception as error:  # Damaged files bring out any exception.
        looping = isinstance(error, OSError) and error.errno == errno.ELOOP
        _note(found, path, "link loop" if looping else "unreadable", error)
    else:
        if width * height <= max_megapixels * 1e6:
            return mode
        found.add(
            "enormous image",
            path,
            f"was not decoded: its header claims {width}x{height} pixels, and max_megapixels is"
            f" {max_megapixels}; make it smaller, or raise max_megapixels if it is genuine.",
        )
    return None


def _decoded(found: Examined, path: Path, mode: str, read: Callable[[Path, str], T]) -> T | None:
    try:
        return read(path, found.sample.class_name)
    except BadImageError as error:
        cause = error.__cause__ or error
        if isinstance(cause, ValueError) and mode in ("F", "I"):
            found.add("wrong mode", path, f"has pixels of the wrong kind: {cause}.")
        else:
            _note(found, path, "unreadable", cause)
    return None


def _note(found: Examined, path: Path, kind: str, error: BaseException) -> None:
    said = reason(error)
    if "truncated" in said.lower():
        found.add("truncated", path, f"ends too early ({said}): {AGAIN}")
    else:
        found.add(kind, path, f"cannot be read as an image ({said}): {AGAIN}")


def _check_mask(
    found: Examined,
    path: Path,
    values: np.ndarray[tuple[int, ...], np.dtype[np.generic]],
    numbered: bool,
) -> None:
    height, width = values.shape[:2]
    if found.size is not None and found.size != (width, height):
        found.add(
            "mask size",
            path,
            f"is {width}x{height} pixels, and its image {found.sample.image} is"
            f" {found.size[0]}x{found.size[1]}: bring both to one size.",
        )
    different = np.unique(values)
    if not different.any():
        found.add("empty mask", path, "marks no pixel: draw the defect, or move the image to good.")
    elif len(different) > (DEFECT_NUMBERS if numbered else BINARY):
        low, high = different[different != 0][[0, -1]]
        found.add(
            "mask not binary",
            path,
            f"holds {len(different)} values ({low} to {high} beside 0), and whatever is not 0"
            " counts as a defect: save it with two values.",
        )
