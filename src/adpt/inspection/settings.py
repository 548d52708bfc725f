"""What an inspector is made with, as plain values that go into its file."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from adpt.errors import UserError
from adpt.methods import FeatureNorm, Method, PaDiM, PatchCore

METHODS: dict[str, type[Method]] = {
    "feature_norm": FeatureNorm,
    "padim": PaDiM,
    "patchcore": PatchCore,
}
"""Methods that are fitted in seconds, so that images can be left out to find a threshold."""


@dataclass(frozen=True)
class Settings:
    """What an inspector was made with.

    Attributes:
        backbone: Arguments of `build_backbone`.
        method: One of `METHODS`.
        method_options: Its arguments, but for the image size.
        image_size: Side of the images that the backbone sees, in pixels.
        resize: See `adpt.data.transforms.Geometry`.
        images: Good images that it was fitted on.
        normal_map: Median and highest score of a pixel in normal images that were left out: what a
            heatmap's colours are scaled by.
        bit_depth: Bits in use of 16-bit files; None if it was fitted on 8-bit images, so that each
            such file's metadata tell, and else all 16 are. A file that does not say is of before,
            when all of them were.
    """

    backbone: dict[str, Any]
    method: str
    method_options: dict[str, Any]
    image_size: int
    resize: int | tuple[int, int] | None
    images: int
    normal_map: tuple[float, float]
    bit_depth: int | None = 16

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Settings that went through JSON, which knows no tuples."""
        resize, normal_map = values["resize"], tuple(values["normal_map"])
        resize = tuple(resize) if isinstance(resize, list) else resize
        return cls(**{**values, "resize": resize, "normal_map": normal_map})


def make_method(name: str, options: Mapping[str, Any], image_size: int) -> Method:
    """A fresh method.

    Args:
        name: One of `METHODS`.
        options: Its arguments, but for the image size.
        image_size: Side of its score maps in pixels.

    Raises:
        UserError: There is no such method for this use, or it does not take these options.
    """
    if name not in METHODS:
        raise UserError(
            f"method={name}: choose one of {', '.join(METHODS)}. Methods that are trained for many"
            " epochs are for adpt.evaluate."
        )
    takes = list(inspect.signature(METHODS[name]).parameters)
    if unknown := sorted(set(options) - set(takes) | set(options) & {"image_size"}):
        raise UserError(
            f"{name} has no option {', '.join(unknown)}; it has"
            f" {', '.join(option for option in takes if option != 'image_size') or 'none'}."
        )
    try:
        return METHODS[name](image_size=image_size, **options)
    except (TypeError, ValueError) as error:
        raise UserError(f"method={name}: {error}") from error
