"""How networks of timm become backbones: the presets, by their names in configs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from adpt.backbones import efficientnet, imagebind
from adpt.backbones.weights_file import StateDict


@dataclass(frozen=True)
class Recipe:
    """How a timm model becomes a backbone.

    Args:
        model: timm's name of the model, with the tag of its weights.
        levels: 0-based blocks or stages, or how many: evenly spaced blocks of a plain transformer,
            the last stages of anything else.
        mean: Per-channel mean of its input; None for what timm records.
        std: Per-channel standard deviation, likewise.
        model_args: Further arguments of `timm.create_model`.
        convert: Turns the state dict of a local file into one that timm reads.
        where: What to tell a user who gives no local file, for weights that no hub holds in timm's
            format; None for weights on the hub.
        installed: The file of weights that came with a package, for a user who gives none.
        position_offset: How position embeddings get another size, see
            `adpt.backbones.positions`; None for timm's way.
    """

    model: str
    levels: int | tuple[int, ...] = 4
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    convert: Callable[[StateDict], StateDict] | None = None
    where: str | None = None
    installed: Callable[[], Path] | None = None
    position_offset: float | None = None


PRESETS = {
    "dinov2_s": Recipe("vit_small_patch14_dinov2.lvd142m", (2, 5, 8, 11)),
    "dinov2_b": Recipe("vit_base_patch14_dinov2.lvd142m", (2, 5, 8, 11)),
    "dinov2_l": Recipe("vit_large_patch14_dinov2.lvd142m", (5, 11, 17, 23)),
    "dinov2_s_reg": Recipe("vit_small_patch14_reg4_dinov2.lvd142m", (2, 5, 8, 11)),
    "dinov2_b_reg": Recipe("vit_base_patch14_reg4_dinov2.lvd142m", (2, 5, 8, 11)),
    "dinov2_l_reg": Recipe("vit_large_patch14_reg4_dinov2.lvd142m", (5, 11, 17, 23)),
    # With the biases of queries and values, as published; timm's others leave out those of zero.
    "dinov3_s": Recipe("vit_small_patch16_dinov3_qkvb.lvd1689m", (2, 5, 8, 11)),
    "dinov3_b": Recipe("vit_base_patch16_dinov3_qkvb.lvd1689m", (2, 5, 8, 11)),
    "dinov3_l": Recipe("vit_large_patch16_dinov3_qkvb.lvd1689m", (5, 11, 17, 23)),
    # Trained with the tanh approximation that JAX has; timm takes GELU itself.
    "siglip2_b": Recipe(
        "vit_base_patch16_siglip_224.v2_webli",
        (2, 5, 8, 11),
        model_args={"act_layer": "gelu_tanh"},
    ),
    "pe_core_b": Recipe("vit_pe_core_base_patch16_224.fb", (2, 5, 8, 11)),
    "clip_b": Recipe("vit_base_patch16_clip_quickgelu_224.openai", (2, 5, 8, 11)),
    "clip_l": Recipe("vit_large_patch14_clip_quickgelu_224.openai", (5, 11, 17, 23)),
    "imagebind": Recipe(
        "vit_huge_patch14_clip_224",
        (7, 15, 23, 31),
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        model_args={"norm_layer": partial(nn.LayerNorm, eps=1e-6)},
        convert=imagebind.to_timm,
        where=(
            "imagebind needs its published weights as a local file: download "
            "https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth (4.5 GB, licence "
            "CC BY-NC-SA 4.0: not for commercial use) and set backbone.weights=<path of that file>."
        ),
        position_offset=0.0,
    ),
    "convnext": Recipe("convnext_base.fb_in22k", (0, 1, 2, 3)),
    # What PatchCore's paper used: torchvision's first weights, layers 2 and 3.
    "wide_resnet50_2": Recipe("wide_resnet50_2.tv_in1k", (2, 3)),
    "efficientnet_lite0": Recipe(
        efficientnet.MODEL,
        (2, 3, 4),
        # By measurement, as is the padding: tests/backbones/test_efficientnet.py.
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        model_args={"pad_type": "same"},
        convert=efficientnet.to_timm,
        installed=efficientnet.installed_weights,
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
