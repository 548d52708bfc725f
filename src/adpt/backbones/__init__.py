"""Frozen backbones: `build_backbone("clip_l")`, or any model of timm by its name."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from adpt.backbones.base import Backbone, Levels
from adpt.backbones.embedded import EmbeddedBackbone
from adpt.backbones.imagebind import to_timm
from adpt.backbones.timm import Recipe, build_timm, check_timm
from adpt.errors import UserError

__all__ = ["PRESETS", "Backbone", "Levels", "build_backbone", "check_backbone"]

PRESETS = {
    "dinov2_b": Recipe("vit_base_patch14_dinov2.lvd142m", (2, 5, 8, 11)),
    "dinov2_l": Recipe("vit_large_patch14_dinov2.lvd142m", (5, 11, 17, 23)),
    "clip_b": Recipe("vit_base_patch16_clip_quickgelu_224.openai", (2, 5, 8, 11)),
    "clip_l": Recipe("vit_large_patch14_clip_quickgelu_224.openai", (5, 11, 17, 23)),
    "imagebind": Recipe(
        "vit_huge_patch14_clip_224",
        (7, 15, 23, 31),
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        model_args={"norm_layer": partial(nn.LayerNorm, eps=1e-6)},
        convert=to_timm,
        where=(
            "imagebind needs its published weights as a local file: download "
            "https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth (4.5 GB, licence "
            "CC BY-NC-SA 4.0: not for commercial use) and set backbone.weights=<path of that file>."
        ),
        position_offset=0.0,
    ),
    "mobilenetv2": Recipe(
        "mobilenetv2_100",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        model_args={"pad_type": "same"},
        where=(
            "mobilenetv2 takes TensorFlow's weights in timm's naming (its padding, mean and std "
            "0.5) from a local file: set backbone.weights=<path of mobilenetv2_100.safetensors>. "
            "timm's own weights of the same network, which it downloads, are "
            "backbone=timm backbone.name=mobilenetv2_100.ra_in1k."
        ),
    ),
}


def build_backbone(
    name: str,
    *,
    levels: int | Sequence[int] | None = None,
    weights: str | Path | None = None,
    pretrained: bool = True,
    image_size: int | Sequence[int] = 224,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Backbone:
    """Build a frozen backbone.

    Args:
        name: A preset (dinov2_b, dinov2_l, clip_b, clip_l, imagebind, mobilenetv2), `embedded`
            (small, comes with the package), or any model of timm with spatial features,
            best with the tag of its weights: `resnet18.a1_in1k`.
        levels: 0-based transformer blocks or stages, or how many of them: evenly spaced blocks that
            end at the last for a plain transformer, the last stages of any other network. None for
            the preset's own, and four for a timm model.
        weights: A local weights file (.safetensors, or a state dict that `torch.save` wrote); None
            for the Hugging Face hub, or its cache where there is no network.
        pretrained: False for random weights, which only tests want.
        image_size: Side of the images in pixels, or (height, width), which only networks that take
            images of any size allow.
        mean: Per-channel mean of the images, in [0, 1]; None for what the weights expect.
        std: Per-channel standard deviation, likewise.

    Raises:
        UserError: There is no such model, or it gives no such levels or takes no such images.
        WeightsError: The weights cannot be had or read, or belong to another network.
    """
    recipe, sides = _recipe(name, levels, weights, pretrained, image_size, mean, std)
    if recipe is None:
        return EmbeddedBackbone(name) if levels is None else EmbeddedBackbone(name, _exact(levels))
    backbone = build_timm(
        name,
        recipe,
        weights=None if weights is None else Path(weights).expanduser(),
        pretrained=pretrained,
        image_size=min(sides),
    )
    if backbone.image_size is not None and len(set(sides)) > 1:
        raise UserError(
            f"data.image_size={sides}: {name} takes square images alone; give one number."
        )
    return backbone


def check_backbone(
    name: str,
    *,
    levels: int | Sequence[int] | None = None,
    weights: str | Path | None = None,
    pretrained: bool = True,
    image_size: int | Sequence[int] = 224,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> None:
    """Refuse what `build_backbone` would refuse, but build no network and load no weights.

    A file of weights is looked at, and the Hugging Face hub is not asked.

    Args:
        name: As of `build_backbone`, like all else.
        levels: Likewise.
        weights: Likewise.
        pretrained: Likewise.
        image_size: Likewise.
        mean: Likewise.
        std: Likewise.

    Raises:
        UserError: There is no such model, or it gives no such levels or takes no such images.
        WeightsError: The file of weights is missing or no such file.
    """
    recipe, sides = _recipe(name, levels, weights, pretrained, image_size, mean, std)
    if recipe is not None:
        file = None if weights is None else Path(weights).expanduser()
        check_timm(recipe, weights=file, pretrained=pretrained, image_size=min(sides))


def _recipe(
    name: str,
    levels: int | Sequence[int] | None,
    weights: str | Path | None,
    pretrained: bool,
    image_size: int | Sequence[int],
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> tuple[Recipe | None, list[int]]:
    """How a network of timm becomes the backbone, None for the embedded one; the images' sides."""
    sides = [image_size] if isinstance(image_size, int | float | str) else list(image_size)
    if len(sides) > 2 or not sides or any(type(side) is not int or side < 1 for side in sides):
        raise UserError(
            f"backbone.image_size={image_size!r}: give a positive number of pixels, or two."
        )
    for option, value in (("mean", mean), ("std", std)):
        if value is not None and len(value) != 3:
            raise UserError(f"backbone.{option}={list(value)}: give three numbers, for R, G and B.")
    if weights is not None and not pretrained:
        raise UserError("backbone.weights names a file, but backbone.pretrained=false: drop one.")
    if name == "embedded":
        if weights is not None or mean is not None or std is not None:
            raise UserError("backbone=embedded takes no weights, mean or std: it is fixed.")
        return None, sides
    recipe = PRESETS.get(name) or Recipe(name)
    recipe = replace(
        recipe,
        levels=recipe.levels if levels is None else _exact(levels),
        mean=recipe.mean if mean is None else tuple(mean),
        std=recipe.std if std is None else tuple(std),
    )
    return recipe, sides


def _exact(levels: int | Sequence[int]) -> int | tuple[int, ...]:
    return levels if isinstance(levels, int) else tuple(levels)
