"""Fitting a method on a few good images, and scoring each of them as if it had not been there."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adpt.backbones import Backbone
from adpt.data import Sample
from adpt.data.references import choose_references
from adpt.data.transforms import Geometry
from adpt.evaluation import Features, FixedReferences, Kind, convert_features
from adpt.inspection.pictures import Read, UnreadImage, read_batches
from adpt.inspection.scorer import Scorer, features_in_memory
from adpt.methods import Method, Scores
from adpt.projector import FeatureProjector
from adpt.running.progress import Progress


@dataclass(frozen=True)
class Fitter:
    """Fits fresh methods on features of good images.

    Attributes:
        backbone: Frozen, on the device that computes.
        projector: Likewise; needed for the kind "pretrained".
        kind: Which features the method sees.
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

    def references(self, own: Features) -> FixedReferences | None:
        """References chosen among these images; None for own features."""
        if self.kind == "own":
            return None
        samples = [Sample(Path(path), 0, "", "train") for path in own.paths]
        chosen = choose_references(samples, self.shots, self.seed)
        return FixedReferences(own, [str(sample.image) for sample in chosen], self.device)

    def convert(self, own: Features, references: FixedReferences | None) -> Features:
        """What the method sees of these images; none of them is its own reference."""
        if references is None:
            return own
        through = self.projector if self.kind == "pretrained" else None
        return convert_features(own, references, through, self.batch_size)

    def fit(self, seen: Features) -> Method:
        """A method fitted on all of these images, as `convert` gives them."""
        method = self.make().to(self.device)
        with torch.no_grad():
            method.fit(seen.batches(self.batch_size, self.device))
        return method

    def held_out(
        self, seen: Features, folds: Sequence[Sequence[int]], progress: Progress
    ) -> Scores:
        """Scores of each image by a method that was fitted without its fold.

        The references stay the same throughout: an image among them is compared with the others.

        Args:
            seen: At least two images, as `convert` gives them.
            folds: Rows that are left out together; each row in one of them.
            progress: Told of every fold.

        Returns:
            On the CPU, in the images' order.
        """
        maps: list[Tensor] = []
        image: list[Tensor] = []
        for number, fold in enumerate(folds):
            progress("leaving good images out", number, len(folds))
            left = set(fold)
            method = self.fit(seen.take([row for row in range(len(seen)) if row not in left]))
            for levels in seen.take(fold).batches(self.batch_size, self.device):
                scores = method.score(levels)
                maps.append(scores.maps.float().cpu())
                image.append(scores.image.float().cpu())
        back = torch.tensor([row for fold in folds for row in fold]).argsort()
        return Scores(torch.cat(maps)[back], torch.cat(image)[back])


def encode(
    backbone: Backbone,
    geometry: Geometry,
    paths: Sequence[Path],
    batch_size: int,
    progress: Progress,
) -> tuple[Features, list[UnreadImage]]:
    """Own features of images, in memory, and which images could not be read.

    Args:
        backbone: On the device that computes.
        geometry: Brings the images to the backbone's size.
        paths: The images, each once.
        batch_size: Images at a time.
        progress: Told of every batch.
    """
    parts: list[list[Tensor]] = []
    names: list[str] = []
    unread: list[UnreadImage] = []
    device = backbone.mean.device
    for batch in read_batches(paths, geometry, batch_size):
        good = [one for one in batch if isinstance(one, Read)]
        unread += [one for one in batch if isinstance(one, UnreadImage)]
        if good:
            images = torch.stack([one.pixels for one in good])
            with torch.no_grad():
                levels = backbone(images.to(device))
            parts.append([level.float().cpu() for level in levels])
            names += [str(one.path) for one in good]
        progress("encoding", len(names) + len(unread), len(paths))
    levels = [torch.cat(level) for level in zip(*parts, strict=True)] if parts else []
    return features_in_memory(levels, names), unread


def score_files(
    scorer: Scorer,
    geometry: Geometry,
    paths: Iterable[Path],
    batch_size: int,
) -> tuple[Scores, list[UnreadImage]]:
    """Scores of files, on the CPU, and which of them could not be read."""
    maps, image, unread = [torch.empty(0, *geometry.image_size)], [torch.empty(0)], []
    for batch in read_batches(paths, geometry, batch_size):
        good = [one.pixels for one in batch if isinstance(one, Read)]
        unread += [one for one in batch if isinstance(one, UnreadImage)]
        if good:
            scores = scorer(torch.stack(good))
            maps.append(scores.maps.cpu())
            image.append(scores.image.cpu())
    return Scores(torch.cat(maps), torch.cat(image)), unread
