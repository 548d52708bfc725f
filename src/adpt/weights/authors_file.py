"""The authors' projector weights: parameters of their .pth files under our names."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adpt.errors import WeightsError
from adpt.running.unpickling import load_tensors

AUTHORS_SETS = ["realiad"]
"""Sets that the authors' projectors were trained on."""

PUBLISHED_NAMES = {
    "x_ref": "references",
    "ref_proj.project.weight": "reference_map.weight",
    "ref_proj.project.bias": "reference_map.bias",
    "layers.0.cross_attn.in_proj_weight": "attention.in_proj_weight",
    "layers.0.cross_attn.in_proj_bias": "attention.in_proj_bias",
    "layers.0.cross_attn.out_proj.weight": "attention.out_proj.weight",
    "layers.0.cross_attn.out_proj.bias": "attention.out_proj.bias",
    "layers.0.mlp.fc1.weight": "mlp.expand.weight",
    "layers.0.mlp.fc1.bias": "mlp.expand.bias",
    "layers.0.mlp.fc2.weight": "mlp.contract.weight",
    "layers.0.mlp.fc2.bias": "mlp.contract.bias",
    "layers.0.mlp.se.fc1.weight": "mlp.squeeze.weight",
    "layers.0.mlp.se.fc1.bias": "mlp.squeeze.bias",
    "layers.0.mlp.se.fc2.weight": "mlp.excite.weight",
    "layers.0.mlp.se.fc2.bias": "mlp.excite.bias",
}
"""A level's parameters: name in the published files, name in `LearnableReferenceAttention`."""


def read_published(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments of `FeatureProjector`, and its tensors, of a published file.

    Raises:
        WeightsError: The file is damaged, or holds something else.
    """
    content = load_tensors(path)
    if not isinstance(content, Mapping) or not isinstance(content.get("projectors"), Mapping):
        raise WeightsError(f"{path} holds no published projector: it has no entry 'projectors'.")
    tensors = _renamed(content["projectors"], path)
    references = [tensor for name, tensor in tensors.items() if name.endswith(".references")]
    tensors["scale"] = torch.ones(len(references))
    channels = [tensor.shape[-1] for tensor in references]
    return {"channels": channels, "num_references": len(references[0])}, tensors


def _renamed(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        match = re.fullmatch(r"(?:module\.)?l([1-9]\d?)_proj\.(.+)", str(name))
        if not match or match[2] not in PUBLISHED_NAMES or not isinstance(tensor, Tensor):
            raise WeightsError(f"{path} has the parameter '{name}', which no projector has.")
        if match[2] == "x_ref":
            tensor = tensor.reshape(-1, *tensor.shape[-1:])
        while tensor.ndim > 2 and tensor.shape[-1] == 1:
            tensor = tensor.squeeze(-1)  # 1-wide convolutions are linear maps.
        tensors[f"blocks.{int(match[1]) - 1}.{PUBLISHED_NAMES[match[2]]}"] = tensor
    levels = max((int(name.split(".")[1]) + 1 for name in tensors), default=1)
    wanted = {
        f"blocks.{level}.{own}": f"l{level + 1}_proj.{published}"
        for level in range(levels)
        for published, own in PUBLISHED_NAMES.items()
    }
    if missing := [published for own, published in wanted.items() if own not in tensors]:
        raise WeightsError(
            f"{path} does not hold a whole projector: it lacks {', '.join(missing)}."
        )
    return {own: tensors[own] for own in wanted}
