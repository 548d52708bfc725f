"""One file that holds a fitted inspector: safetensors, with its settings as JSON in the header."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from adpt.backbones import Backbone
from adpt.errors import UserError, WeightsError
from adpt.inspection.grounds import Grounds
from adpt.inspection.limits import GoodScores
from adpt.inspection.scorer import Scorer, references_from
from adpt.inspection.settings import Settings, check_sizes, check_trusted
from adpt.inspection.spec import BUILD_BACKBONE, accepted, make_backbone, make_method
from adpt.inspection.threshold import Threshold
from adpt.residual import Kind
from adpt.running.names import printable_text
from adpt.running.paths import expanded
from adpt.version import __version__
from adpt.weights.projector_file import filled_projector
from adpt.weights.tensor_file import write_tensors

FORMAT = "adpt-inspector"
VERSION = 2
"""Of a file with a region of interest, which code of before would pass over; others are of 1.
Raised when a file of the new kind could not be read by code of before."""

_LONGEST_HEADER = 2**24
"""Bytes; a header says what tensors there are, and JSON takes many times its length in memory."""


@dataclass(frozen=True)
class Model:
    """All that a file holds.

    Attributes:
        scorer: All that makes scores.
        settings: How it was made.
        threshold: From which score on an image is anomalous.
        good_scores: How good images' scores are distributed; None in files of before.
        grounds: What the threshold was found from; None in files of before.
        weights_inside: True if the backbone's weights lie in the file that it was read from.

    Raises:
        UserError: Its threshold, or what heatmaps are scaled by, is no finite number: no image
            would ever be above it.
    """

    scorer: Scorer
    settings: Settings
    threshold: Threshold
    good_scores: GoodScores | None = None
    grounds: Grounds | None = None
    weights_inside: bool = True

    def __post_init__(self) -> None:
        good = self.good_scores
        for name, values in (
            ("threshold", (self.threshold.value,)),
            ("median and highest score of normal pixels", self.settings.normal_map),
            ("middle and spread of good scores", (good.middle, good.spread) if good else ()),
        ):
            plain = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
            if not plain or not all(map(math.isfinite, values)):
                raise UserError(
                    f"{name}: {', '.join(map(repr, values))} is no finite number, and by it nothing"
                    " would be anomalous. Check the backbone's weights and the images, and fit"
                    " again."
                )

    @property
    def targets(self) -> list[str]:
        """Every class by its dotted name, that of a projector's blocks too."""
        projector = self.scorer.projector
        return [*self.settings.targets, *([projector.block] if projector else [])]

    def normalised(self, score: float) -> float | None:
        """The estimated share of good images that score higher; None in files of before."""
        return None if self.good_scores is None else float(self.good_scores.share_above(score))


def write_model(model: Model, path: Path, backbone_weights: bool = True) -> None:
    """Write a model file, whole or not at all.

    Args:
        model: The model.
        path: The file, replaced if it exists.
        backbone_weights: True if the file is to hold the backbone's weights.

    Raises:
        UserError: The file cannot be written.
    """
    scorer = model.scorer
    backbone, projector = scorer.backbone, scorer.projector
    tensors = _named("method", scorer.method.state_dict())
    if scorer.references is not None:
        levels = {str(number): level for number, level in enumerate(scorer.references.levels)}
        tensors |= _named("references", levels)
    if projector is not None:
        tensors |= _named("projector", projector.state_dict())
    if scorer.interest is not None:
        tensors["interest"] = scorer.interest
    if backbone_weights:
        tensors |= _named("backbone", backbone.state_dict())
    settings = model.settings.to_json()
    if "_target_" not in settings["backbone"]:
        # Where they came from on this machine is of no use on another, and nobody's business.
        weights = settings["backbone"].pop("weights", None)
        if weights is not None and not backbone_weights:
            settings["backbone"]["weights"] = _from(path, str(weights))
    content = {
        "adpt": __version__,
        "settings": settings,
        "threshold": asdict(model.threshold),
        "good_scores": None if model.good_scores is None else asdict(model.good_scores),
        "grounds": None if model.grounds is None else model.grounds.to_json(),
        "features": scorer.kind,
        "projector": None if projector is None else projector.options,
        "backbone": {
            "weights_inside": backbone_weights,
            "sha256": backbone.fingerprint,
            "mean": backbone.mean.tolist(),
            "std": backbone.std.tolist(),
        },
    }
    version = "1" if scorer.interest is None else str(VERSION)
    header = {"format": FORMAT, "version": version, "content": json.dumps(content)}
    write_tensors(tensors, path, header)


def read_model(
    path: Path,
    device: torch.device,
    backbone_weights: Path | None = None,
    trusted: Collection[str] = (),
) -> Model:
    """Read a model file; no code is run from it.

    Args:
        path: The file.
        device: Where to compute.
        backbone_weights: The backbone's weights, for a file without them; None for what lies beside
            it under their name.
        trusted: Classes outside adpt that may be made where the file names them, such as
            "mine.Squares".

    Raises:
        WeightsError: The file is missing, damaged, of something else or of a newer adpt, names a
            class that is neither adpt's nor trusted, or the backbone's weights are not those that
            it was fitted with.
    """
    content, tensors = _read(path)
    try:
        kind: Kind = content["features"]
        settings = Settings.from_json(content["settings"])
        check_trusted(settings, trusted, path)
        check_sizes(settings)
        settings = _with_weights_beside(settings, path)
        threshold = Threshold(**content["threshold"])
        # It is shown to people, as one line.
        origin = printable_text(threshold.origin).replace("\n", " ")
        threshold = replace(threshold, origin=origin)
        for name, tensor in tensors.items():
            # What is infinitely far is never found, and a NaN is above no threshold.
            if not name.startswith("backbone.") and not bool(tensor.isfinite().all()):
                raise ValueError(f"{name} has numbers that are not finite")
        good = content.get("good_scores")
        good_scores = None if good is None else GoodScores(**good)
        kept = content.get("grounds")
        grounds = None if kept is None else Grounds.from_json(kept)
        backbone = _backbone(content["backbone"], settings, tensors, path, backbone_weights)
        method = make_method(settings.method, settings.method_options, settings.image_size)
        method.load_state_dict(_below("method", tensors))
        projector = None
        if content["projector"] is not None:
            options = content["projector"]
            block = options.get("block")
            allowed = block if block in trusted else None
            projector = filled_projector(options, _below("projector", tensors), path, allowed)
            projector.requires_grad_(False).eval().to(device)
        saved = _below("references", tensors)
        # Not as they lie in the file, which another program may cut short.
        levels = [saved[str(number)].clone() for number in range(len(saved))]
        references = references_from(levels, device) if levels else None
        inside = tensors.get("interest")
        if inside is not None:
            if (inside.shape, inside.dtype) != (method.image_size, torch.bool):
                raise ValueError(f"a region of interest of {tuple(inside.shape)} {inside.dtype}")
            inside = inside.clone().to(device)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise WeightsError(
            f"{path} does not hold a whole model (written by adpt {content.get('adpt')}):"
            f" {error!r}. Fit it again."
        ) from error
    scorer = Scorer(backbone.to(device), method.to(device), kind, references, projector, inside)
    try:
        held = bool(content["backbone"]["weights_inside"])
        return Model(scorer, settings, threshold, good_scores, grounds, held)
    except UserError as error:
        raise WeightsError(f"{path} cannot be used: {error}") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise WeightsError(
            f"There is no inspector file {path.absolute()}. Make one with"
            f" `python -m adpt.predict fit=<folder of good images> inspector={path}`."
        )
    try:
        with path.open("rb") as start:
            if int.from_bytes(start.read(8), "little") > _LONGEST_HEADER:
                raise ValueError("its header is longer than that of any model")
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise WeightsError(
                    f"{path} is no model of adpt.predict: its format is"
                    f" {header.get('format')!r}, not {FORMAT!r}."
                )
            if int(header["version"]) > VERSION:
                raise WeightsError(
                    f"{path} has format {header['version']} of a newer adpt; this one, adpt"
                    f" {__version__}, reads up to {VERSION}. Update adpt."
                )
            content = json.loads(header["content"])
            if not isinstance(content, dict):
                raise ValueError("its content is no mapping")
            return content, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    # Deeper JSON than any model's makes a RecursionError, there and wherever it is looked at.
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged or no model file: {error}") from error


def _backbone(
    described: Mapping[str, Any],
    settings: Settings,
    tensors: Mapping[str, Tensor],
    path: Path,
    weights: Path | None,
) -> Backbone:
    spec = dict(settings.backbone)
    ours = spec["_target_"] == BUILD_BACKBONE
    if described["weights_inside"]:
        if weights is not None:
            raise WeightsError(f"{path} holds its backbone's weights: leave {weights} out.")
        backbone = make_backbone(spec | {"pretrained": False} if ours else spec)
        backbone.load_state_dict(_below("backbone", tensors))
        # Not among the weights, and a newer timm may record others for the same network.
        for name in ("mean", "std"):
            getattr(backbone, name).copy_(torch.tensor(described[name]))
    else:
        if weights is not None:
            if "weights" not in (accepted(spec["_target_"]) or {"weights"}):
                raise WeightsError(f"{spec['_target_']} takes no weights: leave {weights} out.")
            spec["weights"] = str(weights)
        try:
            backbone = make_backbone(spec)
        except WeightsError as error:
            raise WeightsError(
                f"{path} was saved without its backbone's weights, and these cannot be had:"
                f" {error}\nGive their file as backbone_weights=<file>."
            ) from error
    if not backbone.is_known_as(described["sha256"]):
        raise WeightsError(
            f"{path} was fitted with other weights of backbone '{backbone.name}' than these: its"
            " thresholds and scores would mean nothing. Give the weights that it was fitted with"
            " (backbone_weights=<file>), or fit it again."
        )
    return backbone


def _from(path: Path, weights: str) -> str:
    """A file of weights as seen from a model file: below its folder, or by its name alone."""
    place, folder = expanded(weights).absolute(), path.absolute().parent
    return place.relative_to(folder).as_posix() if place.is_relative_to(folder) else place.name


def _with_weights_beside(settings: Settings, path: Path) -> Settings:
    """Settings whose file of weights is found from where the model file lies; see `_from`."""
    backbone = settings.backbone
    if backbone["_target_"] != BUILD_BACKBONE or backbone.get("weights") is None:
        return settings
    beside = str(path.absolute().parent / backbone["weights"])
    return replace(settings, backbone={**backbone, "weights": beside})


def _named(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{part}.{name}": tensor for name, tensor in tensors.items()}


def _below(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{part}."
    return {k.removeprefix(start): value for k, value in tensors.items() if k.startswith(start)}
