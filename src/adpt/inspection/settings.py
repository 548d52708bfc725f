"""What an inspector is made with, as plain values that go into its file."""

import importlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from hydra.utils import instantiate

from adpt.backbones import Backbone
from adpt.cli.keys import arguments, targets_in
from adpt.errors import UserError, WeightsError
from adpt.methods import Method, try_making
from adpt.methods.trained import TrainedMethod
from adpt.running.paths import conf_dir
from adpt.running.sources import targets

BUILD_BACKBONE = "adpt.backbones.build_backbone"

Spec = dict[str, Any]
"""A `_target_` and its arguments, plain values, for Hydra's `instantiate`."""


@dataclass(frozen=True)
class Settings:
    """What an inspector was made with.

    Attributes:
        backbone: What makes the backbone.
        method: What the method is called.
        method_options: What makes it.
        image_size: Side of the images that the backbone sees, in pixels.
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
    image_size: int
    resize: int | tuple[int, int] | None
    images: int
    normal_map: tuple[float, float]
    bit_depth: int | None = 16

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is adpt's own goes by its name, as in files of before."""
        values = asdict(self)
        backbone, options = values["backbone"], values["method_options"]
        if backbone["_target_"] == BUILD_BACKBONE:
            del backbone["_target_"]
        if options["_target_"] == targets_in(conf_dir(), "method").get(self.method):
            del options["_target_"], options["image_size"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Settings that went through JSON, which knows no tuples.

        Raises:
            KeyError: There is no such method.
        """
        resize, normal_map = values["resize"], tuple(values["normal_map"])
        resize = tuple(resize) if isinstance(resize, list) else resize
        backbone = {"_target_": BUILD_BACKBONE, **values["backbone"]}
        options = dict(values["method_options"])
        if "_target_" not in options:
            options["_target_"] = targets_in(conf_dir(), "method")[values["method"]]
            options["image_size"] = values["image_size"]
        changed = {"backbone": backbone, "method_options": options}
        return cls(**{**values, **changed, "resize": resize, "normal_map": normal_map})

    @property
    def targets(self) -> list[str]:
        """Every `_target_`, at any depth."""
        return [*targets(self.backbone), *targets(self.method_options)]


# ---- The backbone -----------------------------------------------------------------------------


def backbone_spec(backbone: str | Mapping[str, Any], image_size: int) -> Spec:
    """What makes a backbone.

    Args:
        backbone: A name, or arguments of `build_backbone`, or a `_target_` with its own.
        image_size: Side of the images in pixels.
    """
    given = {"name": backbone} if isinstance(backbone, str) else dict(backbone)
    spec = {"_target_": BUILD_BACKBONE, **given}
    if spec["_target_"] == BUILD_BACKBONE:
        spec.setdefault("image_size", image_size)
    return spec


def make_backbone(spec: Spec) -> Backbone:
    """A backbone.

    Raises:
        UserError: It is none, refuses its options, or its weights cannot be had.
    """
    make = _partial(spec)
    try:
        made = make()
    except (TypeError, ValueError) as error:
        raise UserError(f"backbone: {error}") from error
    if not isinstance(made, Backbone):
        raise UserError(f"{spec['_target_']} makes no adpt.backbones.Backbone.")
    return made


# ---- The method -------------------------------------------------------------------------------


def method_spec(name: str, options: Mapping[str, Any], pretrained: bool, image_size: int) -> Spec:
    """What makes a method.

    Args:
        name: What it is called, and without a `_target_` the name of one of adpt's.
        options: Its arguments, and its `_target_` if it is one's own; `pretrained` in them are
            those that replace the others on pretrained features.
        pretrained: Whether it sees pretrained features.
        image_size: Side of its score maps in pixels.

    Raises:
        UserError: There is no such method, or it does not take these options.
    """
    given = {key: value for key, value in options.items() if key != "pretrained"}
    if pretrained:
        given |= options.get("pretrained", {})
    if "_target_" not in given:
        ours = targets_in(conf_dir(), "method")
        if name not in ours:
            raise _not_for_this(name)
        given["_target_"] = ours[name]
    takes = arguments(_partial(given).func)
    if takes is None or "image_size" in takes:
        given.setdefault("image_size", image_size)
    unknown = sorted(given.keys() - takes - {"_target_"}) if takes is not None else []
    if takes is not None and unknown:
        raise UserError(
            f"{name} has no option {', '.join(unknown)}; it has"
            f" {', '.join(sorted(takes.keys() - {'image_size'})) or 'none'}."
        )
    return given


def make_method(name: str, spec: Spec, image_size: int) -> Method:
    """A fresh method.

    Args:
        name: What it is called.
        spec: What makes it.
        image_size: Side of the images in pixels.

    Raises:
        UserError: It refuses its options, is trained for many epochs, or gives maps of another
            size.
    """
    make = _partial(spec)
    if isinstance(make.func, type) and issubclass(make.func, TrainedMethod):
        raise _not_for_this(name)
    made = try_making(f"method={name}", make)
    if isinstance(made, TrainedMethod):
        raise _not_for_this(name)
    if made.image_size != (image_size, image_size):
        raise UserError(
            f"method.{name}.image_size={list(made.image_size)}: its maps must be of the images'"
            f" size, data.image_size={image_size}."
        )
    return made


def _partial(spec: Spec) -> Any:
    return instantiate(spec, _partial_=True)


def _not_for_this(name: str) -> UserError:
    ours = targets_in(conf_dir(), "method")
    quick = [
        n for n, t in ours.items() if not issubclass(_partial({"_target_": t}).func, TrainedMethod)
    ]
    return UserError(
        f"method={name}: choose one of {', '.join(quick)}. Methods that are trained for many epochs"
        " are for adpt.evaluate."
    )


# ---- What a file may name ---------------------------------------------------------------------


def check_trusted(settings: Settings, trusted: Collection[str], path: Any) -> None:
    """Refuse a file that names what is neither adpt's own nor named by whoever loads it.

    Nothing outside of adpt is imported for it.

    Args:
        settings: What the file says.
        trusted: Targets that whoever loads the file has named.
        path: The file.

    Raises:
        WeightsError: There is such a name.
    """
    parts = ((settings.backbone, Backbone), (settings.method_options, Method))
    foreign = [
        str(target)
        for spec, base in parts
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
    if _refers([spec for spec, _ in parts]):
        raise WeightsError(f"{path} refers to values outside of it: no inspector does.")


def _is_ours(target: Any, base: type) -> bool:
    if target == BUILD_BACKBONE:
        return base is Backbone
    module, _, name = str(target).rpartition(".")
    package = "adpt.backbones" if base is Backbone else "adpt.methods"
    if module != package and not module.startswith(f"{package}."):
        return False
    try:
        found = vars(importlib.import_module(module)).get(name)
    except ImportError:
        return False
    return (
        isinstance(found, type) and issubclass(found, base) and found.__module__.startswith("adpt.")
    )


def _refers(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_refers, value.values()))
    if isinstance(value, list):
        return any(map(_refers, value))
    return isinstance(value, str) and "${" in value
