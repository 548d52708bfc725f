"""Fit on a folder of good images, save one file, and inspect new images with it."""

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from adpt.data import Sample
from adpt.data.checks import bit_depth_of
from adpt.data.images import MAX_MEGAPIXELS, reading_rules
from adpt.data.transforms import Geometry
from adpt.errors import BadImageError, DataError, UserError
from adpt.evaluation import Kind
from adpt.inspection import threshold as thresholds
from adpt.inspection.fitting import Fitter, encode, score_files
from adpt.inspection.model_file import Model, read_model, write_model
from adpt.inspection.pictures import ImageInput, Read, UnreadImage, find_images, read_batches
from adpt.inspection.scorer import Scorer, references_from
from adpt.inspection.settings import (
    Settings,
    backbone_spec,
    make_backbone,
    make_method,
    method_spec,
)
from adpt.inspection.threshold import Threshold
from adpt.methods import FeatureNorm, Scores
from adpt.running.devices import choose_device
from adpt.running.paths import expanded
from adpt.running.progress import Progress, no_progress
from adpt.weights.matching import load_matching_projector

log = logging.getLogger(__name__)

Images = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""A folder of images (the folders in it included), a pattern such as `photos/*.png`, or paths."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found in one image.

    Attributes:
        path: The image's file; None for a picture in memory.
        score: How anomalous the image is; the range is the method's own.
        anomalous: Whether the score is above the threshold.
        threshold: The threshold.
        map: (H, W) float32 scores of the pixels of the picture as it was given; nan where a centre
            crop (`resize`) left it unseen.
    """

    path: str | None
    score: float
    anomalous: bool
    threshold: float
    map: npt.NDArray[np.float32]


class Inspector:
    """Tells anomalous images of one product from normal ones, after seeing a few good images.

    Made by `fit` or `load`. The scores of an image depend on that image alone, not on those that it
    is scored with (but for rounding, in the last digits).

    Args:
        model: What was fitted.
        max_megapixels: Files whose header claims more are not decoded, as if they were broken.
    """

    def __init__(self, model: Model, max_megapixels: float = MAX_MEGAPIXELS) -> None:
        self._model = model
        settings = model.settings
        rules = reading_rules(settings.bit_depth, False, max_megapixels)
        self._geometry = Geometry(settings.image_size, settings.resize, rules)

    # ---- Making one --------------------------------------------------------------------------

    @classmethod
    def fit(
        cls,
        images: Images,
        *,
        method: str = "patchcore",
        method_options: Mapping[str, Any] | None = None,
        backbone: str | Mapping[str, Any] = "efficientnet_lite0",
        projector: str | os.PathLike[str] | None = None,
        features: Kind | None = None,
        shots: int = 8,
        image_size: int = 224,
        resize: int | Sequence[int] | None = None,
        bit_depth: int | None = None,
        max_megapixels: float = MAX_MEGAPIXELS,
        defects: Images | None = None,
        good_test: Images | None = None,
        quantile: float = 0.99,
        false_positive_rate: float | None = None,
        folds: int | None = None,
        seed: int = 0,
        batch_size: int = 8,
        device: str = "auto",
        progress: Progress = no_progress,
    ) -> Self:
        """Fit on good images and find a threshold.

        The threshold comes from the scores of the good images, each by a method fitted without it;
        from `good_test` instead where that is given. With `defects` it is the one of the largest F1
        score. Files that cannot be read are named and left out.

        Args:
            images: Good images of the product, two at least.
            method: "patchcore", "padim" or "feature_norm", or what one of your own is called.
            method_options: Its arguments, such as `{"coreset_ratio": 0.25}`; one of your own is
                named by `_target_`, such as "mine.MeanDistance".
            backbone: A name, such as "dinov2_b"; arguments of `adpt.backbones.build_backbone`; or
                a `_target_` of your own, such as "mine.Squares", with its arguments.
            projector: A projector file, made for this backbone.
            features: What the method sees: "own", "residual" or "pretrained". None for pretrained
                with a projector, and else own, or residual for feature_norm.
            shots: Good images that residual and pretrained features are taken against.
            image_size: Side of the images that the backbone sees, in pixels.
            resize: None squeezes a picture to `image_size`; see `adpt.data.transforms.Geometry`.
            bit_depth: Bits in use of files of 16-bit numbers, 8 to 16; None for what the good
                images take, by their metadata or else their largest value.
            max_megapixels: Files whose header claims more are not decoded, as if they were broken.
            defects: Anomalous images, for a threshold.
            good_test: Further good images, for a threshold.
            quantile: Share of the left-out good images that the threshold lets pass.
            false_positive_rate: Estimated share of good images that are to exceed the threshold,
                instead of `quantile`.
            folds: Parts that the good images are left out in; None for 10, and 5 beyond 50 images.
            seed: Chooses the references.
            batch_size: Images at a time; changes no score.
            device: auto, cpu, cuda or cuda:1; auto is a GPU where there is one.
            progress: Told of every batch and fold.

        Raises:
            UserError: There are no such images, or too few; an option is not one; weights cannot be
                had.
        """
        thresholds.check_options(quantile, false_positive_rate, folds)
        rules = reading_rules(bit_depth, False, max_megapixels)
        geometry = Geometry(image_size, resize, rules)
        where = choose_device(device)
        kind = _kind(features, projector is not None)
        options = method_spec(method, method_options or {}, kind == "pretrained", image_size)
        make = partial(make_method, method, options, image_size)
        made = make()  # So that a wrong option is told before weights are loaded.
        if kind is None:
            # The length of a backbone's own features says nothing.
            kind = "residual" if isinstance(made, FeatureNorm) else "own"
        spec = backbone_spec(backbone, image_size)
        paths = _listed(images, "fit")
        if bit_depth is None:
            good = [Sample(path, 0, "", "train") for path in paths]
            bit_depth = bit_depth_of(good, max_megapixels)
            geometry.rules = reading_rules(bit_depth, False, max_megapixels)
        further = {
            option: _listed(files, option)
            for option, files in (("good_test", good_test), ("defects", defects))
            if files is not None
        }
        built = make_backbone(spec).to(where)
        matching = load_matching_projector(
            os.fspath(projector) if projector else None, built, where
        )

        fitter = Fitter(built, matching, kind, make, shots, seed, batch_size)
        own, unread = encode(built, geometry, paths, batch_size, progress)
        _say_unread(unread)
        if not len(own):
            raise DataError(f"None of the {len(paths)} good images can be read.")
        references = fitter.references(own)
        seen = fitter.convert(own, references)
        through = matching if kind == "pretrained" else None
        if references is not None:
            # As they come out of a file: strides too, which decide over the last bits.
            references = references_from([t.contiguous() for t in references.levels], where)
        scorer = Scorer(built, fitter.fit(seen), kind, references, through)

        def scored(option: str) -> Scores:
            found, unread = score_files(scorer, geometry, further[option], batch_size)
            _say_unread(unread)
            if not len(found.image):
                raise DataError(f"None of the images of {option} can be read.")
            return found

        if "good_test" in further:
            normal, source = scored("good_test"), "further images than those fitted on"
        elif len(own) < 2:
            raise DataError(
                "One good image is too few to find a threshold: give at least two, or further ones"
                " as good_test."
            )
        else:
            parts = thresholds.folds_of(len(seen), folds)
            normal = fitter.held_out(seen, parts, progress)
            each = len(parts) == len(own)
            source = "each left out in turn" if each else f"left out in {len(parts)} parts in turn"
        if "defects" in further:
            chosen = thresholds.from_labels(normal.image, scored("defects").image, source)
        elif false_positive_rate is not None:
            chosen = thresholds.from_rate(normal.image, false_positive_rate, source)
        else:
            chosen = thresholds.from_quantile(normal.image, quantile, source)
        settings = Settings(
            backbone=spec,
            method=method,
            method_options=options,
            image_size=image_size,
            resize=geometry.resize,
            images=len(own),
            normal_map=(float(normal.maps.flatten().median()), float(normal.maps.max())),
            bit_depth=bit_depth,
        )
        return cls(Model(scorer, settings, chosen), max_megapixels)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        device: str = "auto",
        backbone_weights: str | os.PathLike[str] | None = None,
        max_megapixels: float = MAX_MEGAPIXELS,
        trusted: Collection[str] = (),
    ) -> Self:
        """Read an inspector from its file; no code is run from it.

        Args:
            path: The file.
            device: auto, cpu, cuda or cuda:1; auto is a GPU where there is one.
            backbone_weights: A weights file, for an inspector that was saved without them; None for
                the place that they came from.
            max_megapixels: Files whose header claims more are not decoded, as if they were broken.
            trusted: Classes outside adpt that may be imported and made where the file names them,
                such as "mine.Squares".

        Raises:
            WeightsError: The file is missing, damaged, of something else or of a newer adpt, or
                names a class that is neither adpt's nor trusted.
        """
        weights = None if backbone_weights is None else expanded(backbone_weights)
        model = read_model(expanded(path), choose_device(device), weights, trusted)
        return cls(model, max_megapixels)

    def save(self, path: str | os.PathLike[str], backbone_weights: bool = True) -> None:
        """Write the inspector as one file, whole or not at all.

        Args:
            path: The file, replaced if it exists; by custom `<product>.adpt.safetensors`.
            backbone_weights: False leaves the backbone's weights out: a smaller file, that needs
                them from elsewhere when it is loaded.

        Raises:
            UserError: The file cannot be written.
        """
        write_model(self._model, expanded(path), backbone_weights)

    def export_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the inspector as an ONNX graph, for use without adpt and PyTorch.

        Input `images` (batch, 3, S, S) uint8 RGB, S being `settings.image_size`; normalisation is
        inside, bringing a picture to that size (`geometry.image`) is not. Outputs: `map`
        (batch, S, S) and `score` (batch,), float32, and `anomalous` (batch,), bool, by the
        threshold. `metadata_props` tell the threshold and its origin, method, backbone, sizes and
        the bits in use of 16-bit files.

        Args:
            path: The file, replaced if it exists, written whole or not at all.

        Raises:
            UserError: The extra `adpt[onnx]` is not installed, the model takes more than 2 GB, its
                network cannot be expressed in ONNX, or the file cannot be written.
        """
        from adpt.inspection.onnx_file import write_onnx

        write_onnx(self._model, expanded(path))

    def with_threshold(self, value: float) -> Self:
        """The same inspector with another threshold.

        Raises:
            UserError: It is no finite number.
        """
        chosen = Threshold(float(value), "given by the user")
        thresholds.check_value(chosen.value)
        model = replace(self._model, threshold=chosen)
        return type(self)(model, self._geometry.rules.max_megapixels)

    # ---- What it is --------------------------------------------------------------------------

    @property
    def threshold(self) -> float:
        """An image whose score is above it is anomalous."""
        return self._model.threshold.value

    @property
    def threshold_origin(self) -> str:
        """How the threshold was found."""
        return self._model.threshold.origin

    @property
    def settings(self) -> Settings:
        """What it was made with."""
        return self._model.settings

    @property
    def scorer(self) -> Scorer:
        """The module that makes scores: (B, 3, H, W) uint8 of the model's size in, `Scores` out."""
        return self._model.scorer

    @property
    def geometry(self) -> Geometry:
        """Brings pictures to the model's size, and maps back to the pictures'."""
        return self._geometry

    # ---- Using it ----------------------------------------------------------------------------

    def predict(self, image: ImageInput) -> Inspection:
        """Inspect one image.

        Args:
            image: A file; a picture of Pillow; an array (H, W, 3) or (H, W) of uint8; or a tensor
                (3, H, W), uint8 or floating-point in [0, 1].

        Raises:
            BadImageError: The file cannot be read.
            ValueError: An array or a tensor is of another shape or type.
        """
        (result,) = self.predict_many([image])
        if isinstance(result, UnreadImage):
            raise BadImageError(f"{result.path}: {result.error}")
        return result

    def predict_many(
        self, images: Iterable[ImageInput] | str | os.PathLike[str], batch_size: int = 8
    ) -> Iterator[Inspection | UnreadImage]:
        """Inspect images, a batch at a time, in the order given.

        Args:
            images: Taken as they are needed; two batches are in memory at a time. A folder or a
                pattern stands for the image files in it.
            batch_size: Images at a time; changes no score.

        Yields:
            An `Inspection` for each image, or an `UnreadImage` that names a file that cannot be
            read, and why.

        Raises:
            DataError: A folder or a pattern has no images.
            ValueError: An array or a tensor is of another shape or type, or `batch_size` below 1.
        """
        if isinstance(images, str | os.PathLike):
            images = find_images(images, "images")
        for batch in read_batches(images, self._geometry, batch_size):
            good = [one for one in batch if isinstance(one, Read)]
            found = iter(self._inspect(good))
            for one in batch:
                yield one if isinstance(one, UnreadImage) else next(found)

    def _inspect(self, images: Sequence[Read]) -> Iterator[Inspection]:
        if not images:
            return
        scores = self.scorer(torch.stack([image.pixels for image in images]))
        maps, values = scores.maps.cpu(), scores.image.tolist()
        for image, score_map, score in zip(images, maps, values, strict=True):
            laid = self._geometry.lay_back(score_map, image.original)
            yield Inspection(
                image.path, score, score > self.threshold, self.threshold, laid.numpy()
            )


def _kind(features: Kind | None, projected: bool) -> Kind | None:
    """Which features are asked for; None leaves it to the method."""
    if features is None:
        return "pretrained" if projected else None
    if features not in ("own", "residual", "pretrained"):
        raise UserError(f"features={features}: choose own, residual or pretrained.")
    if features == "pretrained" and not projected:
        raise UserError("features=pretrained needs a projector: projector=<path>.")
    return features


def _listed(images: Images, option: str) -> list[Path]:
    if isinstance(images, str | os.PathLike):
        return find_images(images, option)
    paths = list(dict.fromkeys(expanded(path) for path in images))
    if not paths:
        raise DataError(f"{option}: the list of images is empty.")
    return paths


def _say_unread(unread: Sequence[UnreadImage]) -> None:
    for one in unread:
        log.warning("Left out: %s: %s", one.path, one.error)
