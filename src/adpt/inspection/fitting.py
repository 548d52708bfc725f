"""Fitting a method on a few good images, and scoring each of them as if it had not been there."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adpt.backbones import Backbone
from adpt.data import Sample
from adpt.data.references import choose_references
from adpt.data.transforms import Geometry
from adpt.errors import DataError
from adpt.evaluation import Features, FixedReferences, convert_features
from adpt.inspection.inputs import Read, read_batches
from adpt.inspection.interest import blank
from adpt.inspection.scorer import Scorer, features_in_memory, references_from
from adpt.inspection.threshold import folds_of
from adpt.methods import Method, Scores
from adpt.projector import FeatureProjector
from adpt.residual import Kind
from adpt.running.progress import Progress, no_progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
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
    """

    backbone: Backbone
    projector: FeatureProjector | None
    kind: Kind
    make: Callable[[], Method]
    shots: int
    seed: int
    batch_size: int

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return self.backbone.mean.device

    def scorer(self, own: Features) -> tuple[Scorer, Features]:
        """A scorer fitted on all of these images, and their features as its method sees them.

        None of the images is its own reference.
        """
        if self.kind == "own":
            return Scorer(self.backbone, self.fit(own), self.kind), own
        samples = [Sample(Path(path), 0, "", "train") for path in own.paths]
        chosen = choose_references(samples, self.shots, self.seed)
        references = FixedReferences(own, [str(sample.image) for sample in chosen], self.device)
        through = self.projector if self.kind == "pretrained" else None
        seen = convert_features(own, references, through, self.batch_size)
        # As they come out of a file: strides too, which decide over the last bits.
        saved = references_from([level.contiguous() for level in references.levels], self.device)
        return Scorer(self.backbone, self.fit(seen), self.kind, saved, through), seen

    def fit(self, seen: Features) -> Method:
        """A method fitted on all of these images."""
        method = self.make().to(self.device)
        with torch.no_grad():
            method.fit(seen.batches(self.batch_size, self.device))
        return method

    def left_out(self, seen: Features, folds: int | None, progress: Progress) -> tuple[Scores, str]:
        """Scores of each image by a method fitted without its part, and how they came about.

        Raises:
            DataError: There are fewer than two images.
        """
        if len(seen) < 2:
            raise DataError(
                "One good image is too few to find a threshold: give at least two, or further ones"
                " as good_test."
            )
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
            method = self.fit(seen.take([row for row in range(len(seen)) if row not in left]))
            levels = seen.take(fold).batches(self.batch_size, self.device)
            found += [_on_cpu(method.score(batch)) for batch in levels]
        scores = _joined(found)
        back = torch.tensor([row for fold in folds for row in fold]).argsort()
        return Scores(scores.maps[back], scores.image[back])


@dataclass(frozen=True)
class ImageFiles:
    """Reads image files for a model; files that cannot be read are named and left out.

    Attributes:
        geometry: Brings them to the model's size.
        batch_size: Images at a time.
        interest: As of `Scorer`.
    """

    geometry: Geometry
    batch_size: int
    interest: Tensor | None = None

    def encoded(self, backbone: Backbone, paths: Sequence[Path], progress: Progress) -> Features:
        """Own features, in memory, of images for the option `fit`.

        Raises:
            DataError: None of them can be read.
        """
        parts: list[list[Tensor]] = []
        names: list[str] = []
        for read, images in self._batches(paths, "fit", progress):
            with torch.no_grad():
                levels = backbone(images.to(backbone.mean.device))
            parts.append([level.float().cpu() for level in levels])
            names += read
        return features_in_memory([torch.cat(level) for level in zip(*parts, strict=True)], names)

    def scored(self, scorer: Scorer, paths: Sequence[Path], option: str) -> Scores:
        """Scores, on the CPU, of images for an option.

        Raises:
            DataError: None of them can be read.
        """
        batches = self._batches(paths, option, no_progress)
        return _joined([_on_cpu(scorer(images)) for _, images in batches])

    def _batches(
        self, paths: Sequence[Path], option: str, progress: Progress
    ) -> Iterator[tuple[list[str], Tensor]]:
        """Names and pixels of the images that can be read."""
        done = count = 0
        for batch in read_batches(paths, self.geometry, self.batch_size):
            good = [one for one in batch if isinstance(one, Read)]
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


def _on_cpu(scores: Scores) -> Scores:
    return Scores(scores.maps.float().cpu(), scores.image.float().cpu())


def _joined(parts: Sequence[Scores]) -> Scores:
    maps, image = zip(*parts, strict=True)
    return Scores(torch.cat(maps), torch.cat(image))
