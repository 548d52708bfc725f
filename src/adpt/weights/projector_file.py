"""Projector weights on disk: our safetensors files and the .pth files that the authors publish."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import cached_assets_path
from safetensors import SafetensorError, safe_open
from torch import Tensor

from adpt.errors import WeightsError
from adpt.projector import FeatureProjector
from adpt.running.files import sha256
from adpt.weights.hub import HubFile, download, is_hub_name, parse
from adpt.weights.tensor_file import write_tensors

FORMAT = "adpt-projector-1"

AUTHORS_SETS = ["realiad"]
"""What the authors' projectors were trained on."""

Options = dict[str, Any]
"""Arguments of `FeatureProjector`."""

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

# Published files hold their metrics as NumPy numbers. What builds these builds nothing else; it has
# two names, before and since NumPy 2.
_SCALAR = np.float64().__reduce__()[0]
_NUMPY_NUMBERS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
]


def save_projector(
    projector: FeatureProjector, path: str | Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a projector as safetensors.

    Args:
        projector: The projector.
        path: The file, replaced whole if it exists.
        metadata: What else to keep: backbone, config and the like, as text.

    Raises:
        UserError: The file cannot be written.
    """
    described = {
        **(metadata or {}),
        "format": FORMAT,
        "channels": json.dumps(projector.channels),
        "num_heads": str(projector.num_heads),
        "num_references": str(projector.num_references),
        "scale_by_references": json.dumps(projector.scale_by_references),
        "block": projector.block,
        "on_residuals": json.dumps(projector.on_residuals),
    }
    write_tensors(projector.state_dict(), Path(path), described)


def save_backbone(weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Write a backbone's weights as safetensors, to be read as `backbone.weights=<path>`.

    Args:
        weights: See `Backbone.weights`.
        path: The file, replaced whole if it exists.

    Raises:
        UserError: The file cannot be written.
    """
    write_tensors(weights, Path(path), {})


@dataclass(frozen=True)
class ProjectorFile:
    """A projector's file, here, and where it comes from.

    Attributes:
        name: As it was asked for: a path or a name on the hub.
        path: The file to read.
        sha256: Of the file as it was given or published, also where it was converted since.
        metadata: What the file says of itself; empty for a published .pth file.
        source: Of a file from the hub: `repo`, `file`, `commit` and `sha256`.
    """

    name: str
    path: Path
    sha256: str
    metadata: Mapping[str, str]
    source: Mapping[str, str] = field(default_factory=dict)

    @property
    def protocol(self) -> str:
        """`paper` for the authors' weights, whose epoch was chosen on test data, or `clean`."""
        published = self.path.suffix != ".safetensors"
        return "paper" if published else self.metadata.get("protocol", "clean")

    @property
    def sets(self) -> list[str]:
        """The published sets that it has learned from: Real-IAD for the authors' weights."""
        published = self.path.suffix != ".safetensors"
        noted: list[str] = json.loads(self.metadata.get("sets", "[]"))
        return AUTHORS_SETS if published else noted


def find_projector(name: str | Path) -> ProjectorFile:
    """Find a projector by path, or by its name on the hub, whence it is downloaded once.

    Args:
        name: A path, or a name such as `hub:adpretrain/clip_l`; see `adpt.weights.hub.parse`. A
            published .pth file from the hub is kept converted, beside the hub's cache.

    Raises:
        WeightsError: It is not there, damaged, or cannot be had.
    """
    if not is_hub_name(name):
        metadata = projector_metadata(name)
        return ProjectorFile(str(name), Path(name), sha256(Path(name)), metadata)
    found = download(parse(str(name)))
    path = found.path if found.path.suffix == ".safetensors" else _converted(found)
    source = {
        "repo": found.name.repo,
        "file": found.name.file,
        "commit": found.commit,
        "sha256": found.sha256,
    }
    return ProjectorFile(str(name), path, found.sha256, projector_metadata(path), source)


def load_projector(path: str | Path) -> FeatureProjector:
    """Read a projector, ours (.safetensors) or a published one (.pth), in float32, on the CPU.

    No code is run from the file: anything but tensors and numbers is refused.

    Args:
        path: The file, or a name on the hub as `find_projector` takes it.

    Raises:
        WeightsError: The file is missing, damaged, or holds something else.
    """
    path = _here(path)
    read = _read_own if path.suffix == ".safetensors" else _read_published
    options, tensors = read(path)
    try:
        projector = FeatureProjector(**options)
        projector.load_state_dict(tensors)
    except (RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} does not hold a whole projector: {error}") from error
    return projector.eval()


def projector_metadata(path: str | Path) -> dict[str, str]:
    """What a projector file says of itself; empty for a published .pth file.

    Args:
        path: The file, or a name on the hub as `find_projector` takes it.

    Raises:
        WeightsError: The file is missing or damaged.
    """
    path = _here(path)
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged or no safetensors file: {error}") from error


def _converted(found: HubFile) -> Path:
    """The published weights of a .pth file as one of our files, made once."""
    try:
        folder = cached_assets_path("adpt", "projectors", FORMAT)
    except (OSError, ValueError) as error:
        raise WeightsError(f"The converted weights cannot be kept: {error}") from error
    name, backbone = found.name, found.name.backbone
    path = folder / f"{backbone or 'projector'}-{found.sha256}.safetensors"
    if not path.exists():
        metadata = {
            "origin": f"hub:{name.repo}/{name.file}@{found.commit}",
            "origin_sha256": found.sha256,
            "protocol": "paper",
            "sets": json.dumps(AUTHORS_SETS),
            "selection": "the authors' choice of epoch, by results on the test set of MVTec AD",
        }
        save_projector(
            load_projector(found.path),
            path,
            metadata | ({"backbone": backbone} if backbone else {}),
        )
    return path


def _here(path: str | Path) -> Path:
    """The file of this path or of this name on the hub."""
    path = find_projector(path).path if is_hub_name(path) else Path(path)
    if not path.is_file():
        raise WeightsError(
            f"There is no projector file {path.absolute()}. Train one with `python -m adpt.train`,"
            " which prints where it lies, or give the path of published weights or their name on"
            " the hub, such as hub:adpretrain/clip_l."
        )
    return path


def _read_own(path: Path) -> tuple[Options, dict[str, Tensor]]:
    metadata = projector_metadata(path)
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path} is no projector of adpt: its format is {metadata.get('format')!r}, not"
            f" {FORMAT!r}. A projector file comes from adpt.train or the authors' release."
        )
    try:
        options = {
            "channels": [int(width) for width in json.loads(metadata["channels"])],
            "num_heads": int(metadata["num_heads"]),
            "num_references": int(metadata["num_references"]),
            # Files of before these could be chosen do not name them.
            "scale_by_references": metadata.get("scale_by_references") == "true",
            "block": metadata.get("block", "attention"),
            "on_residuals": metadata.get("on_residuals", "true") == "true",
        }
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} does not give its projector's sizes: {error!r}.") from error
    with safe_open(path, framework="pt") as file:
        return options, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _read_published(path: Path) -> tuple[Options, dict[str, Tensor]]:
    tensors = _from_published(_unpickle(path), path)
    references = [tensor for name, tensor in tensors.items() if name.endswith(".references")]
    tensors["scale"] = torch.ones(len(references))
    channels = [tensor.shape[-1] for tensor in references]
    return {"channels": channels, "num_references": len(references[0])}, tensors


def _unpickle(path: Path) -> Mapping[str, Tensor]:
    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    # What is no pickle, a text file for instance, makes the unpickler fail with errors of any kind.
    except Exception as error:
        # PyTorch's own text begins with advice to read it all the same.
        said = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
        asked = re.search(r"GLOBAL (\w+(?:\.\w+)+)", said)
        reason = f"it asks for {asked[1]}" if asked else (said or type(error).__name__)
        reason = reason.splitlines()[0]
        raise WeightsError(
            f"{path} is refused: it is damaged, no PyTorch file, or reading it would run code. Only"
            f" tensors and numbers are read. ({reason})"
        ) from error
    if not isinstance(content, Mapping) or not isinstance(content.get("projectors"), Mapping):
        raise WeightsError(f"{path} holds no published projector: it has no entry 'projectors'.")
    projectors: Mapping[str, Tensor] = content["projectors"]
    return projectors


def _from_published(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Rename the published parameters; 1-wide convolutions become the linear maps they are."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        match = re.fullmatch(r"(?:module\.)?l([1-9]\d?)_proj\.(.+)", str(name))
        if not match or match[2] not in PUBLISHED_NAMES or not isinstance(tensor, Tensor):
            raise WeightsError(f"{path} has the parameter '{name}', which no projector has.")
        if match[2] == "x_ref":
            tensor = tensor.reshape(-1, *tensor.shape[-1:])
        while tensor.ndim > 2 and tensor.shape[-1] == 1:
            tensor = tensor.squeeze(-1)
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
