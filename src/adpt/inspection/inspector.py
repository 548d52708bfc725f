"""Fit on a folder of good images, save one file, and inspect new images with it."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from adpt.data.images import MAX_MEGAPIXELS, reading_rules
from adpt.data.transforms import Geometry
from adpt.errors import BadImageError
from adpt.inspection.adding import with_further
from adpt.inspection.fitted_model import FitOptions, fitted_model
from adpt.inspection.good_images import GoodImages
from adpt.inspection.grounds import Grounds
from adpt.inspection.inputs import (
    ImageInput,
    Images,
    Order,
    Read,
    UnreadImage,
    find_images,
    read_batches,
)
from adpt.inspection.inspection import Inspection, inspections
from adpt.inspection.limits import GoodScores
from adpt.inspection.model_file import Model, read_model, write_model
from adpt.inspection.regions import RegionRule
from adpt.inspection.scorer import Scorer
from adpt.inspection.settings import Settings
from adpt.inspection.threshold import Threshold, ThresholdPolicy
from adpt.residual import Kind
from adpt.running.devices import choose_device
from adpt.running.paths import expanded
from adpt.running.progress import Progress, no_progress


class Inspector:
    """Tells anomalous images of one product from normal ones, after seeing a few good images.

    Made by `fit` or `load`. The scores of an image depend on that image alone, not on those that it
    is scored with (but for rounding, in the last digits).

    Args:
        model: What was fitted.
        max_megapixels: Files whose header claims more are not decoded, as if they were broken.
    """

    good_images: GoodImages | None = None
    """Those that the threshold was found from, where it was fitted just now; in no file."""

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
        projector_block: str | None = None,
        features: Kind | None = None,
        shots: int = 8,
        seed: int = 0,
        image_size: int | Sequence[int] | Literal["auto"] = 224,
        resize: int | Sequence[int] | None = None,
        windows: int | Sequence[int] | Mapping[str, Any] | None = None,
        roi: str | os.PathLike[str] | None = None,
        bit_depth: int | None = None,
        max_megapixels: float = MAX_MEGAPIXELS,
        threshold: ThresholdPolicy | None = None,
        batch_size: int = 8,
        device: str = "auto",
        copy_side: int = 0,
        progress: Progress = no_progress,
        **of_threshold: Any,
    ) -> Self:
        """Fit on good images and find a threshold.

        The threshold comes from the scores of the good images, each as if it had not been fitted
        on. Files that cannot be read are named and left out.

        Args:
            images: Good images of the product, two at least.
            method: "patchcore", "padim", "feature_norm", "anomaly_dino", or one that is trained for
                many epochs, such as "cflow"; or what one of your own is called.
            method_options: Its arguments, such as `{"coreset_ratio": 0.25}`; one of your own is
                named by `_target_`, such as "mine.MeanDistance".
            backbone: A name, such as "dinov2_b"; arguments of `adpt.backbones.build_backbone`; or
                a `_target_` of your own, such as "mine.Squares", with its arguments.
            projector: A projector file, made for this backbone.
            projector_block: The class of your own that its file names as its block.
            features: What the method sees: "own", "residual" or "pretrained". None for pretrained
                with a projector, and else own, or residual for feature_norm.
            shots: Good images that residual and pretrained features are taken against.
            seed: Chooses them.
            image_size: Side of the images that the backbone sees, in pixels, or (height, width);
                "auto" keeps the good images' proportions, their shorter side becoming 224 pixels.
            resize: None squeezes a picture to `image_size`; see `adpt.data.transforms.Geometry`.
            windows: Side in pixels, or (height, width), of overlapping windows that the images are
                seen through; or these options by name: `size`, `overlap`, the share of a window
                that it has in common with the next one, and `aligned`, true for parts that always
                lie in the same place. "auto" then makes the shorter side two windows.
            roi: A picture of the pictures' framing, black outside the region of interest: what lies
                there is neither fitted nor scored.
            bit_depth: Bits in use of files of 16-bit numbers, 8 to 16; None for what the good
                images take, by their metadata or else their largest value.
            max_megapixels: Files whose header claims more are not decoded, as if they were broken.
            threshold: How to find the threshold; None for the score that 5 % of good images are
                estimated to exceed.
            batch_size: Images at a time; changes no score.
            device: auto, cpu, cuda or cuda:1; auto is a GPU where there is one.
            copy_side: Longest side, in pixels, of copies of pictures that `good_images` keeps, of
                500 at most; 0 for none.
            progress: Told of every batch and step.
            **of_threshold: In place of `threshold` its fields, such as `defects="photos/bad"`.

        Raises:
            UserError: There are no such images, or too few; an option is not one; weights cannot be
                had.
        """
        if threshold is not None and of_threshold:
            raise TypeError(f"threshold= is given, so leave {', '.join(of_threshold)} out.")
        fitted_as = FitOptions(
            method, method_options or {}, backbone, projector, projector_block, features, shots,
            seed, image_size, resize, windows, roi, bit_depth, max_megapixels, batch_size,
            choose_device(device), copy_side,
        )  # fmt: skip
        policy = threshold or ThresholdPolicy(**of_threshold)
        model, good_images = fitted_model(images, fitted_as, policy, progress)
        fitted = cls(model, max_megapixels)
        fitted.good_images = good_images
        return fitted

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
                the hub's, or what lies beside its file under the name that they had.
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

    def save(self, path: str | os.PathLike[str], backbone_weights: bool | None = True) -> None:
        """Write the inspector as one file, whole or not at all.

        Args:
            path: The file, replaced if it exists; by custom `<product>.adpt.safetensors`.
            backbone_weights: False leaves the backbone's weights out: a smaller file, that needs
                them from elsewhere when it is loaded. None: as the file it was loaded from.

        Raises:
            UserError: The file cannot be written.
        """
        inside = self._model.weights_inside if backbone_weights is None else backbone_weights
        write_model(self._model, expanded(path), inside)

    def export_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the inspector as an ONNX graph, for use without adpt and PyTorch.

        Input `images` (batch, 3, H, W) uint8 RGB, of `settings.image_size`; normalisation is
        inside, bringing a picture to that size (`geometry.image`) is not. Outputs: `map`
        (batch, H, W) and `score` (batch,), float32, and `anomalous` (batch,), bool, by the
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
        # Numbers of NumPy are taken too; of anything else `given` says what it is.
        number = float(value) if hasattr(value, "__float__") else value
        threshold, grounds = Threshold.given(number), self.grounds
        if grounds is not None:
            grounds = grounds.given(threshold.value)
        model = replace(self._model, threshold=threshold, grounds=grounds)
        return type(self)(model, self._geometry.rules.max_megapixels)

    def with_images(
        self, images: Images, batch_size: int = 8, progress: Progress = no_progress
    ) -> Self:
        """An inspector that has taken further good images in, its threshold found anew.

        Those that it was fitted on need not be at hand; references stay as they were. The remarks
        of its `good_images`, which are the further ones, say what changed.

        Args:
            images: Good images of the product; those that were taken in before are left out.
            batch_size: Images at a time; changes no score.
            progress: Told of every batch and step.

        Raises:
            UserError: There are no new ones; or it must be fitted again, its file being of before,
                or its method of one's own.
        """
        model, good = with_further(self._model, self._geometry, images, batch_size, progress)
        made = type(self)(model, self._geometry.rules.max_megapixels)
        made.good_images = good
        return made

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
    def grounds(self) -> Grounds | None:
        """The grounds that the threshold was found from; None in files of before."""
        return self._model.grounds

    @property
    def good_scores(self) -> GoodScores | None:
        """How good images' scores are distributed; None in files of before."""
        return self._model.good_scores

    @property
    def settings(self) -> Settings:
        """All that it was made with."""
        return self._model.settings

    @property
    def scorer(self) -> Scorer:
        """The module that makes scores: (B, 3, H, W) uint8 of the model's size in, `Scores` out."""
        return self._model.scorer

    @property
    def geometry(self) -> Geometry:
        """Brings pictures to the model's size, and maps back to the pictures'."""
        return self._geometry

    def normalised(self, score: float) -> float | None:
        """The estimated share of good images that score higher; see `Inspection`."""
        return self._model.normalised(score)

    # ---- Using it ----------------------------------------------------------------------------

    def predict(
        self, image: ImageInput, regions: RegionRule | None = None, order: Order = "rgb"
    ) -> Inspection:
        """Inspect one image.

        Args:
            image: A file; a picture of Pillow; an array (H, W, 3) or (H, W); or a tensor (3, H, W).
                Pixels of these are RGB, uint8, uint16 (with `settings.bit_depth` bits in use), or
                floating-point in [0, 1].
            regions: What a defect region is; None for `RegionRule()`.
            order: "bgr" for arrays and tensors as OpenCV reads them.

        Raises:
            BadImageError: The file cannot be read, or its scores are no finite numbers.
            ValueError: An array or a tensor is of another shape or type.
        """
        (result,) = self.predict_many([image], regions=regions, order=order)
        if isinstance(result, UnreadImage):
            raise BadImageError(f"{result.path}: {result.error}")
        return result

    def predict_many(
        self,
        images: Iterable[ImageInput] | str | os.PathLike[str],
        batch_size: int = 8,
        regions: RegionRule | None = None,
        order: Order = "rgb",
        copy_side: int | None = 0,
    ) -> Iterator[Inspection | UnreadImage]:
        """Inspect images, a batch at a time, in the order given.

        Args:
            images: Taken as they are needed; two batches are in memory at a time. A folder or a
                pattern stands for the image files in it.
            batch_size: Images at a time; changes no score.
            regions: What a defect region is; None for `RegionRule()`.
            order: As of `predict`.
            copy_side: Longest side, in pixels, of a copy of each file's picture that its result has
                as `picture`; None for the picture's own, 0 for none. Of large pictures, with which
                two batches would take more than 128 MB, there is none.

        Yields:
            An `Inspection` each, or an `UnreadImage` for a file that cannot be read, or whose
            scores are no finite numbers.

        Raises:
            DataError: A folder or a pattern has no images.
            ValueError: An array or a tensor is of another shape or type, `batch_size` below 1, or
                `copy_side` below 0.
        """
        if isinstance(images, str | os.PathLike):
            images = find_images(images, "images")
        for batch in read_batches(images, self._geometry, batch_size, order, copy_side):
            good = [one for one in batch if isinstance(one, Read)]
            found = inspections(self._model, self._geometry, good, regions or RegionRule())
            for one in batch:
                yield one if isinstance(one, UnreadImage) else next(found)
