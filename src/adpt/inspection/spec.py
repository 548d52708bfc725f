"""Backbones and methods from plain values: a `_target_` and its arguments, as a config has them.

Hydra's `instantiate` would do it too, but a machine that only inspects has no Hydra.
"""

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from pkgutil import resolve_name
from typing import Any

from adpt.backbones import Backbone, patch_size
from adpt.errors import UserError
from adpt.inspection.sizes import AUTO
from adpt.methods import Method, try_making
from adpt.windows import WindowOptions, pair

BUILD_BACKBONE = "adpt.backbones.build_backbone"

METHODS = {
    "anomaly_dino": "adpt.methods.AnomalyDino",
    "cflow": "adpt.methods.CFlow",
    "dinomaly": "adpt.methods.Dinomaly",
    "feature_norm": "adpt.methods.FeatureNorm",
    "glass": "adpt.methods.Glass",
    "inp_former": "adpt.methods.InpFormer",
    "padim": "adpt.methods.PaDiM",
    "patchcore": "adpt.methods.PatchCore",
    "resad": "adpt.methods.ResAD",
    "supersimplenet": "adpt.methods.SuperSimpleNet",
    "uniad": "adpt.methods.UniAD",
}
"""Those of adpt."""

_PROBED = 224
"""Side of the images that a patch's size is looked up with."""

Spec = dict[str, Any]
"""A `_target_` and its arguments, plain values."""

_OF_HYDRA = {"_target_", "_partial_", "_args_", "_recursive_", "_convert_"}


def build(value: Any) -> Any:
    """The object that a spec says, those within its arguments first; any other value as it is."""
    if isinstance(value, list | tuple):
        return [build(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    given = {key: one for key, one in value.items() if key not in _OF_HYDRA}
    listed = value.get("_args_", [])
    if value.get("_recursive_") is not False:
        given, listed = {key: build(one) for key, one in given.items()}, build(listed)
    if "_target_" not in value:
        return given
    make = partial(_resolved(value["_target_"]), *listed, **given)
    return make if value.get("_partial_") else make()


def accepted(target: str) -> set[str] | None:
    """Names of the arguments that a class or function takes; None where it takes any."""
    try:
        parameters = inspect.signature(_resolved(target)).parameters
    except (TypeError, ValueError):
        return None
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return None
    return set(parameters)


def _resolved(target: str) -> Any:
    try:
        return resolve_name(target)
    # A module of the user's own may fail in any way.
    except Exception as error:
        raise UserError(f"{target} cannot be imported: {type(error).__name__}: {error}") from error


# ---- The backbone -------------------------------------------------------------------------------


def backbone_spec(
    backbone: str | Mapping[str, Any],
    image_size: int | Sequence[int],
    windows: WindowOptions | None = None,
) -> Spec:
    """The spec of a backbone.

    Args:
        backbone: A name, or arguments of `build_backbone`, or a `_target_` with its own.
        image_size: Side of the images in pixels, or (height, width).
        windows: What images are seen through; None for whole ones.
    """
    given = {"name": backbone} if isinstance(backbone, str) else dict(backbone)
    spec = {"_target_": BUILD_BACKBONE, **given}
    if spec["_target_"] == BUILD_BACKBONE or spec.get("image_size") == AUTO:
        spec["image_size"] = _settled(spec.get("image_size", AUTO), image_size)
    return windows.backbone(spec, _settled(AUTO, image_size)) if windows else spec


def patch_of(backbone: str | Mapping[str, Any]) -> int:
    """Pixels that a patch of a backbone's coarsest level has on a side; 32 of one's own."""
    spec = backbone_spec(backbone, _PROBED)
    if spec["_target_"] != BUILD_BACKBONE:
        return 32
    given = {key: value for key, value in spec.items() if key not in _OF_HYDRA}
    return patch_size(**given | {"image_size": _PROBED, "windows": None})


def _settled(asked: Any, image_size: int | Sequence[int]) -> Any:
    """A part's own size; the images' where it is left to them."""
    plain = image_size if isinstance(image_size, int) else list(image_size)
    return plain if asked == AUTO else asked


def make_backbone(spec: Spec) -> Backbone:
    """A backbone.

    Raises:
        UserError: It is none, refuses its options, or its weights cannot be had.
    """
    return try_making("backbone", partial(build, spec), Backbone)


# ---- The method ---------------------------------------------------------------------------------


def method_spec(
    name: str,
    options: Mapping[str, Any],
    pretrained: bool,
    image_size: int | Sequence[int],
    windows: WindowOptions | None = None,
) -> Spec:
    """The spec of a method.

    Args:
        name: What it is called, and without a `_target_` the name of one of adpt's.
        options: Its arguments, and its `_target_` if it is one's own; `pretrained` in them are
            those that replace the others on pretrained features.
        pretrained: True if it sees pretrained features.
        image_size: Side of its score maps in pixels, or (height, width).
        windows: What images are seen through; None for whole ones.

    Raises:
        UserError: There is no such method, or it does not take these options.
    """
    given = {key: value for key, value in options.items() if key not in ("pretrained", "_partial_")}
    if pretrained:
        given |= options.get("pretrained", {})
    if "_target_" not in given:
        if name not in METHODS:
            raise UserError(f"method={name}: choose one of {', '.join(METHODS)}.")
        given["_target_"] = METHODS[name]
    takes = accepted(given["_target_"])
    if takes is None or "image_size" in takes:
        given["image_size"] = _settled(given.get("image_size", AUTO), image_size)
    if takes is not None and (unknown := sorted(given.keys() - takes - _OF_HYDRA)):
        raise UserError(
            f"{name} has no option {', '.join(unknown)}; it has"
            f" {', '.join(sorted(takes - {'image_size'})) or 'none'}."
        )
    if windows and windows.divides(_resolved(given["_target_"])):
        return windows.method(given)
    return given


def make_method(name: str, spec: Spec, image_size: int | Sequence[int]) -> Method:
    """A fresh method.

    Args:
        name: What it is called.
        spec: What makes it.
        image_size: Side of the images in pixels, or (height, width).

    Raises:
        UserError: It refuses its options, learns from labels, scores images by others that are
            scored, or gives maps of another size.
    """
    made: Method = try_making(f"method={name}", partial(build, spec))
    if made.uses_labels:
        raise UserError(
            f"method={name} learns from labelled images of other products: it is for"
            " `python -m adpt.evaluate train_data=<set>`."
        )
    if made.looks_at_all:
        raise UserError(
            f"method={name}: its options make the scores of an image depend on the others that are"
            " scored (published_maps=true does), and an inspector sees one at a time."
        )
    if made.image_size != pair(image_size, "data.image_size"):
        raise UserError(
            f"method.{name}.image_size={list(made.image_size)}: its maps must be of the images'"
            f" size, data.image_size={image_size}."
        )
    return made
