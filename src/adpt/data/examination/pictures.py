"""Examining the files of one sample: whether they can be read, and fit each other."""

import errno
import hashlib
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from adpt.data import Sample
from adpt.data.finding import Finding
from adpt.data.images import ReadingRules, mask_of, read_image
from adpt.data.masks import SMALL_NUMBERS, Mask
from adpt.data.opening import RefusedImageError, opened
from adpt.errors import BadImageError

T = TypeVar("T")

BINARY = 2
BEGINNINGS = {
    "enormous image": "was not decoded",
    "wrong mode": "has pixels of the wrong kind",
}
"""Begin of a refused file's message, by the kind of fault; of any other it "cannot be used"."""
AGAIN = "copy or unpack it anew."


@dataclass
class Examined:
    """A sample after its files were read.

    Attributes:
        sample: The image and its mask.
        findings: Faults of the two.
        digest: SHA-256 of the upright 8-bit RGB pixels and their shape; None where unreadable.
        size: Width and height, upright; None where unreadable.
        mode: Pillow's mode of the file; "" where unreadable.
        defective: Share of the picture that its mask marks, of several the one that marks most;
            None without a mask that was read.
    """

    sample: Sample
    findings: list[Finding] = field(default_factory=list)
    digest: bytes | None = None
    size: tuple[int, int] | None = None
    mode: str = ""
    defective: float | None = None

    def add(self, kind: str, path: Path, message: str) -> None:
        """Note a fault of the image or its mask."""
        self.findings.append(Finding(kind, path, message, self.sample.class_name))


def examine_sample(sample: Sample, rules: ReadingRules, numbered_masks: bool) -> Examined:
    """Read an image and its masks as training would, and note every fault.

    With `numbered_masks` these may hold numbers of defects in place of one value.
    """
    found = Examined(sample)
    mode = _check_header(found, sample.image, rules)
    if mode is not None:
        picture = _decoded(found, sample.image, rules, read_image)
        if picture is not None:
            pixels = np.asarray(picture)
            digest = hashlib.sha256(str(pixels.shape).encode())
            digest.update(np.ascontiguousarray(pixels).data)
            found.digest, found.size, found.mode = digest.digest(), picture.size, mode
    for path in sample.masks:
        if _check_header(found, path, rules) is not None:
            mask = _decoded(found, path, rules, mask_of)
            if mask is not None:
                _check_mask(found, path, mask, numbered_masks)
    return found


def _check_header(found: Examined, path: Path, rules: ReadingRules) -> str | None:
    """The mode that a file's header tells; None, with a fault noted, where that is the end."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            found.add("unreadable", path, "is no ordinary file: remove it.")
            return None
        if status.st_size == 0:
            found.add("empty file", path, f"holds no byte: {AGAIN}")
            return None
        with opened(path, rules.max_megapixels) as image:
            return image.mode
    except FileNotFoundError:
        found.add("missing file", path, f"is not there, or is a link that leads nowhere: {AGAIN}")
    except RefusedImageError as error:
        _refuse(found, path, error)
    except Exception as error:  # Damaged files bring out any exception.
        looping = isinstance(error, OSError) and error.errno == errno.ELOOP
        _note(found, path, "link loop" if looping else "unreadable", error)
    return None


def _decoded(
    found: Examined,
    path: Path,
    rules: ReadingRules,
    read: Callable[[Path, str, ReadingRules], T],
) -> T | None:
    try:
        return read(path, found.sample.class_name, rules)
    except BadImageError as error:
        cause = error.__cause__ or error
        if isinstance(cause, RefusedImageError):
            _refuse(found, path, cause)
        else:
            _note(found, path, "unreadable", cause)
    return None


def _refuse(found: Examined, path: Path, error: RefusedImageError) -> None:
    found.add(error.kind, path, f"{BEGINNINGS.get(error.kind, 'cannot be used')}: {error}.")


def _note(found: Examined, path: Path, kind: str, error: BaseException) -> None:
    said = _reason(error)
    if "truncated" in said.lower():
        found.add("truncated", path, f"ends too early ({said}): {AGAIN}")
    else:
        found.add(kind, path, f"cannot be read as an image ({said}): {AGAIN}")


def _check_mask(found: Examined, path: Path, mask: Mask, numbered: bool) -> None:
    height, width = mask.pixels.shape
    found.defective = max(found.defective or 0.0, float(mask.pixels.mean()))
    if found.size is not None and found.size != (width, height):
        found.add(
            "mask size",
            path,
            f"is {width}x{height} pixels, and its image {found.sample.image} is"
            f" {found.size[0]}x{found.size[1]}: bring both to one size.",
        )
    if not mask.pixels.any():
        found.add("empty mask", path, "marks no pixel: draw the defect, or move the image to good.")
    elif mask.rounded or len(mask.values) > (SMALL_NUMBERS if numbered else BINARY):
        taken = (
            "each pixel is taken for the nearest of two, the darkest and the brightest"
            if mask.rounded
            else "whatever is not 0 counts as a defect"
        )
        found.add(
            "mask not binary",
            path,
            f"holds {len(mask.values)} values ({mask.values[0]:g} to {mask.values[-1]:g}), and"
            f" {taken}: save it as PNG with two values.",
        )


def _reason(error: BaseException) -> str:
    """The words of an error on a file, without the file's path and a full stop."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # Pillow ends with the path, in quotes, where it knows no more.
    said = re.sub(r""" file ['"].*$""", "", str(error), flags=re.DOTALL)
    return said.rstrip(".") or type(error).__name__
