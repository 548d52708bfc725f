"""Frozen backbones: `build_backbone("clip_l")`, or any model of timm by its name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from adpt.backbones.base import Backbone, Levels
from adpt.backbones.precision import Precision, check_precision
from adpt.backbones.recipes import PRESETS, Recipe
from adpt.backbones.timm import Plan, build_timm, check_timm
from adpt.backbones.windowed import WindowedBackbone
from adpt.errors import NO_EMBEDDED, UserError
from adpt.windows import OVERLAP, Size, check_windows, pair

__all__ = [
    "PRESETS",
    "Backbone",
    "Levels",
    "WindowedBackbone",
    "build_backbone",
    "check_backbone",
    "patch_size",
]


def build_backbone(
    name: str,
    *,
    levels: int | Sequence[int] | None = None,
    weights: str | Path | None = None,
    pretrained: bool = True,
    image_size: int | Sequence[int] = 224,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    windows: int | Sequence[int] | None = None,
    overlap: float = OVERLAP,
    precision: Precision = "float32",
) -> Backbone:
    """Build a frozen backbone.

    Args:
        name: A preset (efficientnet_lite0; dinov2_s, dinov2_b, dinov2_l and with registers
            dinov2_s_reg, dinov2_b_reg, dinov2_l_reg; dinov3_s, dinov3_b, dinov3_l; clip_b, clip_l;
            siglip2_b; pe_core_b; imagebind; convnext; wide_resnet50_2; mobilenetv2), or any model
            of timm with spatial features, best with the tag of its weights: `resnet18.a1_in1k`.
        levels: 0-based transformer blocks or stages, or how many of them: evenly spaced blocks that
            end at the last for a plain transformer, the last stages of any other network. None for
            the preset's own, and four for a timm model.
        weights: A local weights file (.safetensors, or a state dict that `torch.save` wrote); None
            for the Hugging Face hub, or its cache where there is no network, and for
            efficientnet_lite0's own package.
        pretrained: False for random weights, which only tests want.
        image_size: Side of the images in pixels, or (height, width); patches of a transformer must
            divide both.
        mean: Per-channel mean of the images, in [0, 1]; None for what the weights expect.
        std: Per-channel standard deviation, likewise.
        windows: Side in pixels, or (height, width), of overlapping windows that the images are seen
            through; None for whole images. See `WindowedBackbone`.
        overlap: Share of a window that it has in common with the next one.
        precision: Of its arithmetic: float32; on an NVIDIA GPU tf32; bfloat16, for GPUs and CPUs
            that multiply it in hardware; float16, more exact than bfloat16 and slow on a CPU. Not
            of a backbone that is trained.

    Raises:
        UserError: There is no such model, or it gives no such levels or takes no such images.
        WeightsError: The weights cannot be had or read, or belong to another network.
    """
    chosen = _chosen(locals())
    built = build_timm(
        name,
        chosen.recipe,
        weights=chosen.weights,
        pretrained=pretrained,
        image_size=chosen.window or chosen.size,
    )
    seen: Backbone = built
    if chosen.window is not None:
        seen = WindowedBackbone(built, chosen.size, chosen.window, overlap)
    seen.precision = precision
    return seen


def check_backbone(name: str, **options: Any) -> None:
    """Refuse what `build_backbone` would refuse, but build no network and load no weights.

    Arguments as of `build_backbone`. A file of weights is looked at, and the hub is not asked.

    Raises:
        UserError: There is no such model, or it gives no such levels or takes no such images.
        WeightsError: The file of weights is missing or no such file.
    """
    _plan(name, options)


def patch_size(name: str, **options: Any) -> int:
    """Pixels on a side of what a patch of the coarsest level of `image_size` stands for.

    Arguments as of `build_backbone`, and UserErrors as of `check_backbone`.
    """
    plan, (height, _) = _plan(name, options)
    return round(height / min(shape[-2] for shape in plan.shapes))


def _plan(name: str, options: Mapping[str, Any]) -> tuple[Plan, Size]:
    """A network's options as they are settled before it is built, and the size of what it sees."""
    given = signature(build_backbone).bind(name, **options)
    given.apply_defaults()
    recipe, weights, size, window = _chosen(given.arguments)
    seen, pretrained = window or size, given.arguments["pretrained"]
    return check_timm(recipe, weights=weights, pretrained=pretrained, image_size=seen), seen


class _Chosen(NamedTuple):
    recipe: Recipe
    weights: Path | None
    size: Size
    window: Size | None


def _chosen(options: Mapping[str, Any]) -> _Chosen:
    """How a network of timm becomes the backbone, its file of weights, images' and windows' size.

    Raises:
        UserError: An option is none, or such windows do not lie on such images.
    """
    name, weights = options["name"], options["weights"]
    size = pair(options["image_size"], "backbone.image_size")
    windows = options["windows"]
    window = None if windows is None else pair(windows, "backbone.windows")
    for option in ("mean", "std"):
        value = options[option]
        if value is not None and len(value) != 3:
            raise UserError(f"backbone.{option}={list(value)}: give three numbers, for R, G and B.")
    if weights is not None and not options["pretrained"]:
        raise UserError("backbone.weights names a file, but backbone.pretrained=false: drop one.")
    check_precision(options["precision"])
    if name == "embedded":
        raise UserError(NO_EMBEDDED)
    recipe = PRESETS.get(name) or Recipe(name)
    given: dict[str, Any] = {
        option: value if isinstance(value, int) else tuple(value)
        for option in ("levels", "mean", "std")
        if (value := options[option]) is not None
    }
    if weights is not None:
        weights = Path(weights).expanduser()
    elif recipe.installed and options["pretrained"]:
        weights = recipe.installed()
    if window is not None:
        patch = patch_size(name, levels=options["levels"], pretrained=False)
        check_windows(size, window, options["overlap"], patch)
    return _Chosen(replace(recipe, **given), weights, size, window)
