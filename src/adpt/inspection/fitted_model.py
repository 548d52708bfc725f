"""From good images to a model with its threshold."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from adpt.data import Sample
from adpt.data.checks import deepest_of
from adpt.data.images import reading_rules
from adpt.data.transforms import Geometry
from adpt.errors import UserError
from adpt.inspection.fitting import Fitter, ImageFiles, kind_of
from adpt.inspection.good_images import GoodImages
from adpt.inspection.grounds import Grounds
from adpt.inspection.inputs import Images, image_files
from adpt.inspection.interest import read_interest
from adpt.inspection.model_file import Model
from adpt.inspection.settings import Settings
from adpt.inspection.sizes import settled_size
from adpt.inspection.spec import (
    backbone_spec,
    make_backbone,
    make_method,
    method_spec,
    patch_of,
)
from adpt.inspection.threshold import ThresholdPolicy
from adpt.methods import FeatureNorm
from adpt.residual import Kind
from adpt.running.names import printable
from adpt.running.progress import Progress
from adpt.running.whole_files import sha256
from adpt.weights import load_matching_projector
from adpt.windows import WindowOptions

_DIGITS = 16
"""Of a file's SHA-256."""


@dataclass(frozen=True)
class FitOptions:
    """How an inspector is fitted; as the arguments of `Inspector.fit`."""

    method: str
    method_options: Mapping[str, Any]
    backbone: str | Mapping[str, Any]
    projector: str | os.PathLike[str] | None
    projector_block: str | None
    features: Kind | None
    shots: int
    seed: int
    image_size: int | Sequence[int] | Literal["auto"]
    resize: int | Sequence[int] | None
    windows: int | Sequence[int] | Mapping[str, Any] | None
    roi: str | os.PathLike[str] | None
    bit_depth: int | None
    max_megapixels: float
    batch_size: int
    device: torch.device
    copy_side: int


def fitted_model(
    images: Images, options: FitOptions, policy: ThresholdPolicy, progress: Progress
) -> tuple[Model, GoodImages]:
    """Fit a method and find its threshold.

    Args:
        images: The good images.
        options: How.
        policy: How to find the threshold.
        progress: Told of every batch and step.

    Returns:
        The model, and the images that its threshold was found from.

    Raises:
        UserError: As of `Inspector.fit`.
    """
    kind = kind_of(options.features, options.projector is not None)
    good = image_files(images, "fit")
    cut = WindowOptions.of(options.windows)
    size = settled_size(
        options.image_size, options.resize, good, partial(patch_of, options.backbone), cut
    )
    method = method_spec(options.method, options.method_options, kind == "pretrained", size, cut)
    make = partial(make_method, options.method, method, size)
    made = make()  # So that a wrong option is told before weights are loaded.
    if kind is None:
        # The length of a backbone's own features says nothing.
        kind = "residual" if isinstance(made, FeatureNorm) else "own"
    bit_depth, most = options.bit_depth, options.max_megapixels
    geometry = Geometry(size, options.resize, reading_rules(bit_depth, False, most))
    if bit_depth is None:
        deepest = deepest_of([Sample(path, 0, "", "train") for path in good], most)
        bit_depth = deepest[0] if deepest else None
        geometry.rules = reading_rules(bit_depth, False, most)
    inside = None if options.roi is None else read_interest(options.roi, geometry)
    further = None if policy.good_test is None else image_files(policy.good_test, "good_test")
    defects = None if policy.defects is None else image_files(policy.defects, "defects")
    refuse_good(defects or (), [*good, *(further or ())])
    backbone = backbone_spec(options.backbone, size, cut)
    built = make_backbone(backbone).to(options.device)
    if made.uses_class_token:
        built.require_class_token(f"method={options.method}")
    weights = os.fspath(options.projector) if options.projector else None
    projector = load_matching_projector(weights, built, options.device, options.projector_block)
    copied = "fit" if further is None else "good_test"
    files = ImageFiles(geometry, options.batch_size, inside, options.copy_side, copied)
    fitter = Fitter(
        built, projector, kind, make, options.shots, options.seed, options.batch_size, files
    )

    own = files.encoded(built, good, progress, made.uses_class_token)
    progress("fitting the method", 0, len(own))
    scorer, seen = fitter.scorer(own, progress)
    scorer.interest = None if inside is None else inside.to(options.device)
    names = seen.paths
    if further is None:
        normal, source = fitter.left_out(scorer.method, seen, policy.folds, progress)
    else:
        names, normal = files.scored(scorer, further, "good_test")
        source = "further images than those fitted on"
    bad = None if defects is None else files.scored(scorer, defects, "defects")[1].image
    shown = shown_pixels(normal.maps, inside)
    settings = Settings(
        backbone=backbone,
        method=options.method,
        method_options=method,
        image_size=size if isinstance(size, int) else geometry.image_size,
        resize=geometry.resize,
        images=len(seen),
        normal_map=(float(shown.median()), float(shown.max())),
        bit_depth=bit_depth,
    )
    found = policy.find(normal.image, source, bad)
    grounds = Grounds.of(policy, normal.image, bad, source, tuple(map(digits, seen.paths)))
    model = Model(scorer, settings, found, grounds.spread(), grounds)
    return model, replace(GoodImages.examined(names, normal, policy, bad), copies=files.copies)


def shown_pixels(maps: Tensor, interest: Tensor | None) -> Tensor:
    """Scores of the pixels of maps (n, H, W) that are looked at."""
    return maps.flatten() if interest is None else maps[:, interest]


def by_content(paths: Iterable[Path]) -> dict[str, Path]:
    """Image files by what tells them from others; of equal ones the first.

    What cannot be read, which is named where it is read, goes by its path.
    """
    found: dict[str, Path] = {}
    for path in paths:
        try:  # A pipe would never end.
            found.setdefault(digits(path) if path.is_file() else str(path), path)
        except OSError:
            found.setdefault(str(path), path)
    return found


def refuse_good(defects: Sequence[Path], good: Sequence[Path]) -> None:
    """Refuse known defects that are among the good images, by their content.

    Raises:
        UserError: There are such.
    """
    bad = by_content(defects)
    if both := sorted(bad.keys() & by_content(good).keys()) if bad else ():
        raise UserError(
            f"defects: {len(both)} of these images are among the good ones too, such as"
            f" {printable(bad[both[0]])}. Give images with defects that are in neither fit nor"
            " good_test."
        )


def digits(path: str | Path) -> str:
    """The part of a hash that tells an image file from others, whatever it is called."""
    return sha256(Path(path))[:_DIGITS]
