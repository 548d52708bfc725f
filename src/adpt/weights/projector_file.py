"""Projector weights on disk: our safetensors files, and the authors' .pth files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import cached_assets_path
from safetensors import SafetensorError, safe_open
from torch import Tensor

from adpt.errors import UserError, WeightsError
from adpt.projector import OPTIONS, FeatureProjector
from adpt.projector.blocks import BLOCKS
from adpt.running.whole_files import sha256
from adpt.weights.authors_file import AUTHORS_SETS, read_published
from adpt.weights.hub import HubFile, download, is_hub_name, parse
from adpt.weights.tensor_file import write_tensors

if TYPE_CHECKING:
    from adpt.backbones import Backbone

FORMAT = "adpt-projector-1"
BUILTIN = "builtin"
"""The name of the projector that is installed with adpt, for efficientnet_lite0."""
_BUILTIN_FILE = Path(__file__).with_name("builtin.safetensors")
_NEEDED = {"channels", "num_heads", "num_references"}
"""Options that every file names; those of before the others could be chosen lack these."""
_WIDEST = 2**16
"""Heads and channels of a level that a file may claim."""


def save_projector(
    projector: FeatureProjector, path: str | Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a projector as safetensors.

    Args:
        projector: The projector.
        path: The file, replaced whole if it exists.
        metadata: What else to keep: backbone, config and the like, as text.

    Raises:
        UserError: The file cannot be written, or the projector has numbers that are not finite.
    """
    tensors = projector.state_dict()
    if broken := [name for name, value in tensors.items() if not value.isfinite().all()]:
        raise UserError(
            f"The projector has numbers that are not finite ({broken[0]}), and is not written: the"
            " training went astray. Look at the losses in metrics.csv, and lower"
            " model.optimizer.lr, or mend the loss."
        )
    options = {name: json.dumps(value) for name, value in projector.options.items()}
    described = {**(metadata or {}), "format": FORMAT, **options, "block": projector.block}
    write_tensors(tensors, Path(path), described)


def save_backbone(weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Write a `Backbone.weights` as safetensors, to be read as `backbone.weights=<path>`.

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
    def authors(self) -> bool:
        """True for the authors' weights, as published or converted."""
        return self.path.suffix != ".safetensors" or "origin" in self.metadata

    @property
    def sets(self) -> list[str]:
        """The published sets that it has learned from: Real-IAD for the authors' weights."""
        published = self.path.suffix != ".safetensors"
        noted: list[str] = json.loads(self.metadata.get("sets", "[]"))
        return AUTHORS_SETS if published else noted


def find_projector(name: str | Path) -> ProjectorFile:
    """Find a projector by path, or by its name on the hub, whence it is downloaded once.

    Args:
        name: A path, `builtin`, or a name such as `hub:adpretrain/clip_l`; see
            `adpt.weights.hub.parse`. A published .pth file from the hub is kept converted, beside
            the hub's cache.

    Raises:
        WeightsError: It is not there, damaged, or cannot be had.
    """
    if not is_hub_name(name):
        path = _here(name)
        return ProjectorFile(str(name), path, sha256(path), projector_metadata(path))
    found = download(parse(str(name)))
    path = found.path if found.path.suffix == ".safetensors" else _converted(found)
    source = {
        "repo": found.name.repo,
        "file": found.name.file,
        "commit": found.commit,
        "sha256": found.sha256,
    }
    return ProjectorFile(str(name), path, found.sha256, projector_metadata(path), source)


def load_projector(path: str | Path, block: str | None = None) -> FeatureProjector:
    """Read a projector, ours (.safetensors) or a published one (.pth), in float32, on the CPU.

    No code is run from the file: anything but tensors and numbers is refused.

    Args:
        path: The file, or a name on the hub as `find_projector` takes it.
        block: The class of one's own that the file may name as its blocks, such as `mine.Block`:
            no other is imported because a file names it.

    Raises:
        WeightsError: The file is missing, damaged, holds something else, or names another class.
    """
    path = _here(path)
    read = _read_own if path.suffix == ".safetensors" else read_published
    options, tensors = read(path)
    try:
        projector = filled_projector(options, tensors, path, block)
    except (RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} does not hold a whole projector: {error}") from error
    return projector.eval()


def filled_projector(
    options: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path, block: str | None = None
) -> FeatureProjector:
    """A projector made with these options and filled with these tensors.

    Args:
        options: As of `FeatureProjector`.
        tensors: Its state.
        path: The file that both come from.
        block: As of `load_projector`.

    Raises:
        KeyError: There are no channels among the options.
        RuntimeError: They do not fit each other; no memory is taken for what a file only claims.
        TypeError: There is no such option.
        ValueError: An option is out of its range, or there is no such block.
        WeightsError: The block is a class that is neither adpt's nor `block`.
    """
    named = options.get("block", "attention")
    if "." in str(named) and named != block:
        raise WeightsError(
            f"The projector of {path} was made with the block {named}, a class that is not adpt's,"
            f" and no code is run because a file names it{f': not {block}' if block else ''}. If it"
            f" is yours, name it: projector_block={named} (from Python block= of load_projector,"
            " projector_block= of Inspector.fit, trusted= of Inspector.load)."
        )
    if named not in (*BLOCKS, block):
        raise ValueError(f"its blocks are {named!r}, none of adpt's")
    channels = list(options["channels"])
    if len(channels) > len(tensors):
        raise ValueError(f"it claims {len(channels)} levels and has {len(tensors)} tensors")
    if max(options.get("num_heads", 1), *channels, 1) > _WIDEST:
        raise ValueError(f"it claims more than {_WIDEST} heads or channels")
    with torch.device("meta"):
        claimed = FeatureProjector(**options).state_dict()
    if wrong := [n for n, t in claimed.items() if n not in tensors or t.shape != tensors[n].shape]:
        raise RuntimeError(f"{wrong[0]} is missing, or not of the size that it claims")
    projector = FeatureProjector(**options)
    projector.load_state_dict(tensors)
    return projector


def load_matching_projector(
    wanted: ProjectorFile | str | None,
    backbone: "Backbone",
    device: torch.device,
    block: str | None = None,
) -> FeatureProjector | None:
    """A projector that was trained on this backbone, or None where none is wanted.

    Args:
        wanted: Its file as `find_projector` gives it, or what that takes: a path or a name.
        backbone: The backbone.
        device: Where the projector goes.
        block: As of `load_projector`.

    Raises:
        WeightsError: The file is not usable, or was made for another backbone or other levels.
    """
    if wanted is None:
        return None
    file = wanted if isinstance(wanted, ProjectorFile) else find_projector(wanted)
    projector, metadata = load_projector(file.path, block), file.metadata
    trained_on = metadata.get("backbone", backbone.name)
    if projector.channels != backbone.channels or trained_on != backbone.name:
        raise WeightsError(
            f"{file.name} was trained on levels of widths {projector.channels} of backbone"
            f" '{trained_on}', but backbone '{backbone.name}' gives {backbone.channels}. Choose the"
            " backbone and levels that the projector was trained with."
        )
    known = metadata.get("backbone_sha256")
    if known is not None and not backbone.is_known_as(known):
        raise WeightsError(
            f"{file.name} was trained on other levels, options or weights of backbone"
            f" '{backbone.name}' than these. Give the backbone.levels, backbone.weights and other"
            " options that it was trained with."
        )
    return projector.to(device)


def projector_metadata(path: str | Path) -> dict[str, str]:
    """The text that a projector file, a path or a name on the hub, holds about itself.

    It is empty for a published .pth file.

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
    if str(path) == BUILTIN:
        return _BUILTIN_FILE
    path = find_projector(path).path if is_hub_name(path) else Path(path)
    if not path.is_file():
        raise WeightsError(
            f"There is no projector file {path.absolute()}. Train one with `python -m adpt.train`,"
            " which prints where it lies, or give the path of published weights or their name on"
            " the hub, such as hub:adpretrain/clip_l."
        )
    return path


def _read_own(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    metadata = projector_metadata(path)
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path} is no projector of adpt: its format is {metadata.get('format')!r}, not"
            f" {FORMAT!r}. A projector file comes from adpt.train or the authors' release."
        )
    try:
        given = {name: metadata[name] for name in OPTIONS if name in metadata}
        options = {n: text if n == "block" else json.loads(text) for n, text in given.items()}
        if missing := _NEEDED - options.keys():
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} does not give its projector's sizes: {error}.") from error
    with safe_open(path, framework="pt") as file:
        return options, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
