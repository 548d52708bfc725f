"""Findings in a data set: a file or folder, its fault, and what to do."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth a look.

    Attributes:
        kind: The sort of thing, such as "truncated"; findings are grouped by it.
        path: The file or folder it was found in.
        message: The fault and what to do, one sentence that the path goes before.
        class_name: The product; "" where it is none's in particular.
        fault: False for a remark: a set may be like that, and can be used.
        others: Further files that it is about.
    """

    kind: str
    path: Path
    message: str
    class_name: str = ""
    fault: bool = True
    others: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return f"{self.path} {self.message}"


def no_images(folder: Path, class_name: str) -> Finding:
    """The fault of a folder of images that holds none."""
    message = "holds no image: unpack it anew, or remove it."
    return Finding("folder without images", folder, message, class_name)


def no_image(mask: Path, class_name: str) -> Finding:
    """The fault of a mask that fits no image."""
    message = "belongs to no image and is not used: restore the image, or remove it."
    return Finding("mask without image", mask, message, class_name)
