"""Fitting a method on a few good images, and scoring each of them as if it had not been there."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from adpt.backbones import Backbone
from adpt.data import Sample
from adpt.data.references import choose_references
from adpt.data.transforms import Geometry
from adpt.errors import DataError, UserError
from adpt.evaluation import Features, FixedReferences, convert_features
from adpt.evaluation.defect_pool import Convert
from adpt.inspection.defective import synthetic_defects
from adpt.inspection.inputs import Read, read_batches
from adpt.inspection.interest import blank
from adpt.inspection.scorer import Scorer, features_in_memory, references_from
from adpt.inspection.threshold import folds_of
from adpt.methods import Method, Scores
from adpt.methods.base import checked, tells_left_out
from adpt.methods.trained import TrainedMethod
from adpt.projector import FeatureProjector
from adpt.residual import KINDS, Kind
from adpt.running.progress import Progress, no_progress
from adpt.windows import Size

log = logging.getLogger(__name__)


TRAINED_FOLDS = 3
"""Parts that the good images are left out in where each takes a training: together twice as long
as the first."""
_COPIES = 500
"""Small copies of pictures that are kept; 100 MB where they are those of thumbnails."""


@dataclass
class Fitter:
    """Fits fresh methods on features of good images.

    Attributes:
        backbone: Frozen, on the device that computes.
        projector: Likewise; for the kind "pretrained".
        kind: The features that the method sees.
        make: Makes a fresh method.
        shots: References for residual features.
        seed: Chooses them.
        batch_size: Images at a time; changes no score.
        files: Reads the images again where a method trains on synthetic defects on them; without it
            there are none.
        convert: Own features of images to what the method sees, once `scorer` has settled it; None
            for own ones.
    """

    backbone: Backbone
    projector: FeatureProjector | None
    kind: Kind
    make: Callable[[], Method]
    shots: int
    seed: int
    batch_size: int
    files: "ImageFiles | None" = None
    convert: Convert | None = field(default=None, init=False)

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return self.backbone.mean.device

    def scorer(self, own: Features, progress: Progress = no_progress) -> tuple[Scorer, Features]:
        """A scorer fitted on all of these images, and their features as its method sees them.

        None of the images is its own reference.
        """
        if self.kind == "own":
            return Scorer(self.backbone, self.fit(own, progress), self.kind), own
        samples = [Sample(Path(path), 0, "", "train") for path in own.paths]
        chosen = choose_references(samples, self.shots, self.seed)
        paths = [str(sample.image) for sample in chosen]
        references = FixedReferences(own.seen_by(False), paths, self.device)
        through = self.projector if self.kind == "pretrained" else None
        seen = convert_features(own, references, through, self.batch_size)
        # As they come out of a file: strides too, which decide over the last bits.
        saved = references_from([level.contiguous() for level in references.levels], self.device)
        self.convert = partial(references.convert, projector=through)
        return Scorer(self.backbone, self.fit(seen, progress), self.kind, saved, through), seen

    def fit(self, seen: Features, progress: Progress = no_progress) -> Method:
        """A method fitted on all of these images; progress is told of the epochs of a training."""
        method = self.make().to(self.device)
        if isinstance(method, TrainedMethod):
            synthetic = None
            if method.uses_defects and self.files is not None:
                synthetic = synthetic_defects(
                    seen.paths,
                    self.files.geometry,
                    interest=self.files.interest,
                    backbone=self.backbone,
                    convert=self.convert,
                    batch_size=self.batch_size,
                    seed=self.seed,
                    class_token=method.uses_class_token,
                )
            method.train_on(seen, self.device, defects=synthetic, progress=progress)
            return method
        with torch.no_grad():
            method.fit(seen.batches(self.batch_size, self.device))
        return method

    def left_out(
        self, method: Method, seen: Features, folds: int | None, progress: Progress
    ) -> tuple[Scores, str]:
        """Scores of each image as if the method had not seen it, and how they came about.

        Without fitting again where the method can tell and no number of parts is asked for.

        Raises:
            DataError: There are fewer than two images.
        """
        if len(seen) < 2:
            raise DataError(
                "One good image is too few to find a threshold: give at least two, or further ones"
                " as good_test."
            )
        if folds is None and tells_left_out(type(method)):
            progress("leaving good images out", 0, len(seen))
            with torch.no_grad():
                scores = method.left_out_scores(seen.batches(self.batch_size, self.device))
            if scores is not None:
                return _on_cpu(scores), "each left out in turn"
        if folds is None and isinstance(method, TrainedMethod):
            folds = TRAINED_FOLDS
        parts = folds_of(len(seen), folds)
        how = "each left out in turn"
        if len(parts) < len(seen):
            how = f"left out in {len(parts)} parts in turn"
        return self.held_out(seen, parts, progress), how

    def held_out(
        self, seen: Features, folds: Sequence[Sequence[int]], progress: Progress
    ) -> Scores:
        """Scores of each image by a method that was fitted without its fold.

        The references stay the same throughout: an image among them is compared with the others.

        Args:
            seen: At least two images, as `scorer` gives them.
            folds: Rows that are left out together; each row in one of them.
            progress: Told of every fold.
        """
        found: list[Scores] = []
        for number, fold in enumerate(folds):
            progress("leaving good images out", number, len(folds))
            left = set(fold)
            rest = seen.take([row for row in range(len(seen)) if row not in left])
            part = f"without part {number + 1} of {len(folds)}"

            def within(what: str, done: int, total: int, part: str = part) -> None:
                progress(f"{what} {part}", done, total)

            method = self.fit(rest, within)
            levels = seen.take(fold).batches(self.batch_size, self.device)
            found += [_on_cpu(checked(method, method.score(batch))) for batch in levels]
        scores = Scores.joined(found)
        back = torch.tensor([row for fold in folds for row in fold]).argsort()
        return Scores(scores.maps[back], scores.image[back])


@dataclass(frozen=True)
class ImageFiles:
    """Reads image files for a model; files that cannot be read are named and left out.

    Attributes:
        geometry: Brings them to the model's size.
        batch_size: Images at a time.
        interest: As of `Scorer`.
        copy_side: Longest side, in pixels, of copies of pictures that are kept; 0 for none.
        copied: The option of whose images they are.
        copies: As of `GoodImages`; of 500 pictures at most.
    """

    geometry: Geometry
    batch_size: int
    interest: Tensor | None = None
    copy_side: int = 0
    copied: str = "fit"
    copies: dict[str, tuple[Image.Image, Size]] = field(default_factory=dict)

    def encoded(
        self,
        backbone: Backbone,
        paths: Sequence[Path],
        progress: Progress,
        class_token: bool = False,
    ) -> Features:
        """Own features, in memory, of images for the option `fit`; the token as of `Backbone`.

        Raises:
            DataError: None of them can be read.
        """
        parts: list[list[Tensor]] = []
        names: list[str] = []
        for read, images in self._batches(paths, "fit", progress):
            with torch.no_grad():
                levels = backbone.encoding(class_token)(images.to(backbone.mean.device))
            parts.append([level.float().cpu() for level in levels])
            names += read
        joined = [torch.cat(level) for level in zip(*parts, strict=True)]
        return replace(features_in_memory(joined, names), class_token=class_token)

    def scored(
        self, scorer: Scorer, paths: Sequence[Path], option: str
    ) -> tuple[list[str], Scores]:
        """Names and scores, on the CPU, of images for an option.

        Raises:
            DataError: None of them can be read.
        """
        names: list[str] = []
        found: list[Scores] = []
        for read, images in self._batches(paths, option, no_progress):
            names += read
            found.append(_on_cpu(scorer(images)))
        return names, Scores.joined(found)

    def _batches(
        self, paths: Sequence[Path], option: str, progress: Progress
    ) -> Iterator[tuple[list[str], Tensor]]:
        """Names and pixels of the images that can be read."""
        done = count = 0
        side = self.copy_side if option == self.copied else 0
        for batch in read_batches(paths, self.geometry, self.batch_size, copy_side=side):
            good = [one for one in batch if isinstance(one, Read)]
            self._keep(good)
            for one in batch:
                if not isinstance(one, Read):
                    log.warning("Left out: %s: %s", one.path, one.error)
            if good:
                pixels = torch.stack([one.pixels for one in good])
                yield [str(one.path) for one in good], blank(pixels, self.interest)
            done, count = done + len(batch), count + len(good)
            progress("encoding", done, len(paths))
        if not count:
            raise DataError(f"None of the {len(paths)} images of {option} can be read.")

    def _keep(self, images: Sequence[Read]) -> None:
        for image in images[: _COPIES - len(self.copies)]:
            if image.copy is not None:
                self.copies[str(image.path)] = image.copy, image.original


def _on_cpu(scores: Scores) -> Scores:
    return Scores(scores.maps.float().cpu(), scores.image.float().cpu())


def kind_of(features: Kind | None, projected: bool) -> Kind | None:
    """The features that are asked for; None leaves it to the method."""
    if features is None:
        return "pretrained" if projected else None
    if features not in KINDS:
        raise UserError(f"features={features}: choose {', '.join(KINDS[:-1])} or {KINDS[-1]}.")
    if features == "pretrained" and not projected:
        raise UserError("features=pretrained needs a projector: projector=<path>.")
    return features
