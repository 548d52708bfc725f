"""ImageBind's image trunk in the names of timm's vision transformer."""

import re
from collections.abc import Mapping

from torch import Tensor

from adpt.backbones.weights_file import StateDict, first_few
from adpt.errors import WeightsError

_STEM = "modality_preprocessors.vision."
_TRUNK = "modality_trunks.vision."
_OUTSIDE_BLOCKS = {
    "cls_token": f"{_STEM}cls_token",
    "pos_embed": f"{_STEM}pos_embedding_helper.pos_embed",
    "patch_embed.proj.weight": f"{_STEM}rgbt_stem.proj.1.weight",
    "norm_pre.weight": f"{_TRUNK}pre_transformer_layer.0.weight",
    "norm_pre.bias": f"{_TRUNK}pre_transformer_layer.0.bias",
}
_IN_BLOCK = {
    "norm1.weight": "norm_1.weight",
    "norm1.bias": "norm_1.bias",
    "attn.qkv.weight": "attn.in_proj_weight",
    "attn.qkv.bias": "attn.in_proj_bias",
    "attn.proj.weight": "attn.out_proj.weight",
    "attn.proj.bias": "attn.out_proj.bias",
    "norm2.weight": "norm_2.weight",
    "norm2.bias": "norm_2.bias",
    "mlp.fc1.weight": "mlp.fc1.weight",
    "mlp.fc1.bias": "mlp.fc1.bias",
    "mlp.fc2.weight": "mlp.fc2.weight",
    "mlp.fc2.bias": "mlp.fc2.bias",
}


def to_timm(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Weights of `imagebind_huge.pth` for timm's `vit_huge_patch14_clip_224`.

    Other modalities and the head behind the trunk are left out. An image reaches the published
    3-D patch convolution as a film of two equal frames, so the 2-D kernel is the sum of the
    kernel's two temporal slices. The network must use GELU and LayerNorm with an epsilon of 1e-6.

    Args:
        state_dict: As published; of any width and depth. One that has timm's names already, of a
            backbone that pretraining has trained, comes back as it is.

    Returns:
        A new state dict, without final norm and head.

    Raises:
        WeightsError: Keys of the image trunk are missing.
    """
    if set(_OUTSIDE_BLOCKS) <= set(state_dict):
        return dict(state_dict)
    numbers = (re.match(rf"{re.escape(_TRUNK)}blocks\.(\d+)\.", key) for key in state_dict)
    depth = max((int(number[1]) + 1 for number in numbers if number), default=1)
    names = dict(_OUTSIDE_BLOCKS)
    for block in range(depth):
        for ours, theirs in _IN_BLOCK.items():
            names[f"blocks.{block}.{ours}"] = f"{_TRUNK}blocks.{block}.{theirs}"

    missing = [theirs for theirs in names.values() if theirs not in state_dict]
    if missing:
        raise WeightsError(
            f"Not the weights of ImageBind's image trunk: {len(missing)} keys are missing, "
            f"{first_few(missing)}. Expected is imagebind_huge.pth as published."
        )
    converted = {ours: state_dict[theirs] for ours, theirs in names.items()}
    kernel = converted["patch_embed.proj.weight"]
    if kernel.ndim != 5:
        raise WeightsError(
            f"{_OUTSIDE_BLOCKS['patch_embed.proj.weight']} should be a 3-D convolution's kernel, "
            f"(C, 3, 2, 14, 14), but is {tuple(kernel.shape)}."
        )
    converted["patch_embed.proj.weight"] = kernel.float().sum(dim=2)
    return converted
