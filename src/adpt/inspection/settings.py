"""All that an inspector is made with, as plain values that go into its file."""

import importlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from adpt.backbones import Backbone
from adpt.errors import WeightsError
from adpt.inspection.spec import BUILD_BACKBONE, METHODS, Spec
from adpt.methods import Method
from adpt.running.sources import targets


@dataclass(frozen=True)
class Settings:
    """All that an inspector was made with.

    Attributes:
        backbone: The spec of the backbone.
        method: The method's name.
        method_options: The spec of the method.
        image_size: Side of the images that the backbone sees, in pixels, or (height, width).
        resize: See `adpt.data.transforms.Geometry`.
        images: Good images that it was fitted on.
        normal_map: Median and highest score of a pixel in normal images that were left out: what a
            heatmap's colours are scaled by.
        bit_depth: Bits in use of 16-bit files; None if it was fitted on 8-bit images, so that each
            such file's metadata tell, and else all 16 are. A file that does not say is of before,
            when all of them were.
    """

    backbone: Spec
    method: str
    method_options: Spec
    image_size: int | tuple[int, int]
    resize: int | tuple[int, int] | None
    images: int
    normal_map: tuple[float, float]
    bit_depth: int | None = 16

    def to_json(self) -> dict[str, Any]:
        """Plain values; a part of adpt's own goes by its name, as in files of before."""
        values = asdict(self)
        backbone, options = values["backbone"], values["method_options"]
        if backbone["_target_"] == BUILD_BACKBONE:
            del backbone["_target_"]
            if backbone.get("precision") == "float32":  # Which code of before does not know.
                del backbone["precision"]
        if options["_target_"] == METHODS.get(self.method):
            del options["_target_"], options["image_size"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Settings that went through JSON, which knows no tuples.

        Raises:
            KeyError: There is no such method.
        """
        options = dict(values["method_options"])
        if "_target_" not in options:
            options |= {"_target_": METHODS[values["method"]], "image_size": values["image_size"]}
        changed = {
            "backbone": {"_target_": BUILD_BACKBONE, **values["backbone"]},
            "method_options": options,
        } | {
            name: tuple(value) if isinstance(value := values[name], list) else value
            for name in ("image_size", "resize", "normal_map")
        }
        return cls(**{**values, **changed})

    @property
    def targets(self) -> list[str]:
        """Every `_target_`, at any depth."""
        return [*targets(self.backbone), *targets(self.method_options)]


MOST_SIDE = 8192
"""Pixels of the longest side of images that a file may ask for."""
_MOST = 2**16
"""Largest whole number among the arguments of adpt's own parts."""


def check_sizes(settings: Settings) -> None:
    """Refuse settings from a file by which more memory would be taken than any model needs.

    Raises:
        ValueError: They are such.
    """
    sides: list[Any] = []
    for size in (settings.image_size, settings.resize or 1):
        sides += [size] if isinstance(size, int) else size
    if not all(type(side) is int and 1 <= side <= MOST_SIDE for side in sides):
        raise ValueError(f"images of {sides} pixels, where {MOST_SIDE} are the most")
    for spec in (settings.backbone, settings.method_options):
        if str(spec["_target_"]).startswith("adpt."):
            _check_numbers({name: value for name, value in spec.items() if name != "seed"})


def _check_numbers(value: Any) -> None:
    if isinstance(value, int) and abs(value) > _MOST:
        raise ValueError(f"an option of {value}, where {_MOST} is the most")
    if isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            _check_numbers(one)


def check_trusted(settings: Settings, trusted: Collection[str], path: Path) -> None:
    """Refuse a file that names what is neither adpt's own nor named by whoever loads it.

    Nothing outside of adpt is imported for it.

    Args:
        settings: Read from the file.
        trusted: Targets that whoever loads the file has named.
        path: The file.

    Raises:
        WeightsError: There is such a name.
    """
    foreign = [
        str(target)
        for spec, base in ((settings.backbone, Backbone), (settings.method_options, Method))
        for target in targets(spec)
        if target not in trusted and not _is_ours(target, base)
    ]
    if foreign:
        names = ", ".join(dict.fromkeys(foreign))
        raise WeightsError(
            f"{path} names {names}: code that is not adpt's, and none is run because a file names"
            " it. If it is yours, give the folder of configuration that names it too, --config-dir"
            " <folder>; from Python, trusted=[...]."
        )


def _is_ours(target: str, base: type) -> bool:
    if target == BUILD_BACKBONE:
        return base is Backbone
    module, _, name = target.rpartition(".")
    package = "adpt.backbones" if base is Backbone else "adpt.methods"
    if module != package and not module.startswith(f"{package}."):
        return False
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return False
    ours = isinstance(found, type) and issubclass(found, base)
    return ours and found.__module__.startswith("adpt.")
