"""Run anomaly detection methods on a class: on its own, residual and pretrained features."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from adpt.backbones.base import Backbone
from adpt.data import AnomalyDataModule, Sample
from adpt.errors import DataError, UserError
from adpt.methods.base import Method
from adpt.metrics import anomaly_metrics
from adpt.progress import Progress, no_progress
from adpt.projector import FeatureProjector
from adpt.references import choose_references
from adpt.residual import reference_scale, residual_features

Kind = Literal["own", "residual", "pretrained"]


@dataclass(frozen=True)
class Features:
    """Features of some images, in memory on the CPU.

    Attributes:
        levels: One (N, C, h, w) float32 tensor a level: 4·N·Σ C·h·w bytes.
        masks: (N, H, W) bool.
        labels: (N,) int64.
        paths: The image files.
        skipped: Files that could not be read.
    """

    levels: list[Tensor]
    masks: Tensor
    labels: Tensor
    paths: list[str]
    skipped: list[str]

    def __len__(self) -> int:
        return len(self.paths)

    def batches(self, size: int, device: torch.device) -> Iterator[list[Tensor]]:
        """The levels, `size` images at a time, on `device`."""
        for start in range(0, len(self), size):
            yield [level[start : start + size].to(device) for level in self.levels]


@dataclass(frozen=True)
class Outcome:
    """What one method made of one class on one kind of features.

    Attributes:
        method: The method's name.
        kind: The features.
        metrics: As `anomaly_metrics` gives them, the paper's AUPRO included.
        maps: (N, H, W) float32 score maps of the test images.
        image_scores: (N,).
        seconds: Time of `fit` and `score`.
    """

    method: str
    kind: Kind
    metrics: dict[str, float]
    maps: Tensor
    image_scores: Tensor
    seconds: dict[str, float]


@torch.no_grad()
def extract(
    backbone: Backbone,
    data: AnomalyDataModule,
    samples: Sequence[Sample],
    device: torch.device,
    progress: Progress = no_progress,
) -> Features:
    """Features of images, each encoded once.

    Raises:
        BadImageError: A file cannot be read and the data module does not skip such files.
    """
    parts: list[list[Tensor]] = []
    masks, labels, paths, skipped = [], [], [], []
    for batch in data.loader(samples):
        skipped += batch.skipped
        if len(batch):
            parts.append([level.float().cpu() for level in backbone(batch.image.to(device))])
            masks.append(batch.mask)
            labels.append(batch.label)
            paths += batch.path
        progress("encoding", len(paths) + len(skipped), len(samples))
    levels = []
    for number in range(len(parts[0]) if parts else 0):
        # Level by level, so that no second copy of all features stands beside the first.
        levels.append(torch.cat([part[number] for part in parts]))
        for part in parts:
            part[number] = torch.empty(0)
    height, width = data.geometry.image_size
    return Features(
        levels,
        torch.cat(masks) if masks else torch.zeros(0, height, width, dtype=torch.bool),
        torch.cat(labels) if labels else torch.zeros(0, dtype=torch.int64),
        paths,
        skipped,
    )


class ReferenceFeatures:
    """The reference features of a class, and residual features against them.

    An image is never its own reference: one of the references itself is matched against the
    others only.

    Args:
        features: Features of the normal training images.
        paths: Which of them are the references.
        device: Where to compute.
    """

    def __init__(self, features: Features, paths: Sequence[str], device: torch.device) -> None:
        self.rows = [features.paths.index(path) for path in paths]
        self.paths = list(paths)
        self.device = device
        self._own_scale: Tensor | None = None
        self.levels = [
            level[self.rows].flatten(2).transpose(1, 2).to(device) for level in features.levels
        ]

    @torch.no_grad()
    def residuals(
        self, features: Features, projector: FeatureProjector | None = None, batch_size: int = 32
    ) -> Features:
        """Residual features of images, projected where a projector is given.

        Images that are the only reference have no residual and are left out, unless nothing else
        is there.
        """
        only_one = len(self.paths) == 1
        keep = [i for i, path in enumerate(features.paths) if not (only_one and path in self.paths)]
        keep = keep or list(range(len(features)))
        levels = [torch.empty(len(keep), *level.shape[1:]) for level in features.levels]
        groups = self._groups([features.paths[index] for index in keep])
        for references, rows in groups:
            for start in range(0, len(rows), batch_size):
                chunk = rows[start : start + batch_size]
                source = [keep[row] for row in chunk]
                own = [level[source].to(self.device) for level in features.levels]
                made = residual_features(own, references)
                made = made if projector is None else projector(made, self._scale(projector))
                for level, values in zip(levels, made, strict=True):
                    level[chunk] = values.float().cpu()
        return Features(
            levels,
            features.masks[keep],
            features.labels[keep],
            [features.paths[index] for index in keep],
            features.skipped,
        )

    def _scale(self, projector: FeatureProjector) -> Tensor | None:
        # A single reference says nothing of its scale: the projector's own must do.
        if not projector.scale_by_references or len(self.paths) < 2:
            return None
        if self._own_scale is None:
            self._own_scale = reference_scale(self.levels)
        return self._own_scale

    def _groups(self, paths: Sequence[str]) -> Iterator[tuple[list[Tensor], list[int]]]:
        """References and the images that use them: all of them, or all but the image itself."""
        others = [row for row, path in enumerate(paths) if path not in self.paths]
        if others:
            yield [level.flatten(0, 1) for level in self.levels], others
        for row, path in enumerate(paths):
            if path in self.paths:
                rest = [i for i, other in enumerate(self.paths) if other != path] or [0]
                yield [level[rest].flatten(0, 1) for level in self.levels], [row]


@dataclass(frozen=True)
class ClassData:
    """A class, encoded once, with its references.

    Attributes:
        name: The class.
        train: Own features of the training images.
        test: Own features of the test images.
        references: The references, chosen among the normal training images.
        seconds: Time that encoding took.
    """

    name: str
    train: Features
    test: Features
    references: ReferenceFeatures
    seconds: float

    @property
    def num_bytes(self) -> int:
        """Memory that the features take."""
        levels = self.train.levels + self.test.levels
        return sum(level.numel() * level.element_size() for level in levels)


def choose_kinds(wanted: Sequence[str] | None, projector: FeatureProjector | None) -> list[Kind]:
    """The kinds of features to evaluate: those asked for, or all that can be had.

    Raises:
        UserError: A kind is unknown, or "pretrained" is asked for without a projector.
    """
    kinds: tuple[Kind, ...] = ("own", "residual", "pretrained")
    if wanted is None:
        return list(kinds if projector is not None else kinds[:2])
    unknown = [name for name in wanted if name not in kinds]
    if unknown or not wanted:
        raise UserError(f"features={list(wanted)}: choose some of {', '.join(kinds)}.")
    if projector is None and "pretrained" in wanted:
        raise UserError("features=[pretrained] needs a projector: projector=<path>.")
    return [kind for kind in kinds if kind in wanted]


def encode_class(
    data: AnomalyDataModule,
    class_name: str,
    backbone: Backbone,
    shots: int,
    seed: int,
    device: torch.device,
    progress: Progress = no_progress,
) -> ClassData:
    """Encode a class's training and test images and choose its references.

    Args:
        data: The set, already set up.
        class_name: The class.
        backbone: On `device`.
        shots: Number of references.
        seed: Chooses the references.
        device: Where to compute.
        progress: Told of every batch.

    Raises:
        BadImageError: A file cannot be read and the data module does not skip such files.
        DataError: The class has no test images or no readable normal training image.
    """
    started = time.perf_counter()
    samples = data.select("train", class_name=class_name)
    train = extract(backbone, data, samples, device, progress)
    test = extract(backbone, data, data.select("test", class_name=class_name), device, progress)
    readable = set(train.paths)
    normal = [s for s in samples if s.label == 0 and str(s.image) in readable]
    if not normal or not len(test):
        what = "test image" if normal else "normal training image that can be read"
        raise DataError(f"Class '{class_name}' of {data.root} has no {what}: nothing to evaluate.")
    chosen = [str(sample.image) for sample in choose_references(normal, shots, seed)]
    references = ReferenceFeatures(train, chosen, device)
    return ClassData(class_name, train, test, references, time.perf_counter() - started)


def run_methods(
    encoded: ClassData,
    methods: Mapping[str, Callable[[], Method]],
    kinds: Sequence[Kind],
    projector: FeatureProjector | None,
    batch_size: int,
    device: torch.device,
    progress: Progress = no_progress,
) -> list[Outcome]:
    """Fit and score every method on every kind of a class's features.

    Args:
        encoded: The class.
        methods: Name to what makes a fresh method.
        kinds: Which features to use.
        projector: On `device`; needed for the kind "pretrained".
        batch_size: Images at a time; changes no score.
        device: Where to compute.
        progress: Told of every method.
    """
    outcomes: list[Outcome] = []
    for kind in kinds:
        train, test = encoded.train, encoded.test
        if kind != "own":
            through = projector if kind == "pretrained" else None
            train = encoded.references.residuals(train, through, batch_size)
            test = encoded.references.residuals(test, through, batch_size)
        for name, make in methods.items():
            progress(f"{name} on {kind} features", len(outcomes), len(kinds) * len(methods))
            outcomes.append(_run(name, kind, make(), train, test, batch_size, device))
    return outcomes


@torch.no_grad()
def _run(
    name: str,
    kind: Kind,
    method: Method,
    train: Features,
    test: Features,
    batch_size: int,
    device: torch.device,
) -> Outcome:
    started = time.perf_counter()
    method.to(device).fit(train.batches(batch_size, device))
    fitted = time.perf_counter()
    scores = [method.score(levels) for levels in test.batches(batch_size, device)]
    maps = torch.cat([score.maps.float().cpu() for score in scores])
    image_scores = torch.cat([score.image.float().cpu() for score in scores])
    scored = time.perf_counter()
    metrics = anomaly_metrics(maps, test.masks, image_scores, labels=test.labels, paper_aupro=True)
    seconds = {"fit": fitted - started, "score": scored - fitted}
    return Outcome(name, kind, metrics, maps, image_scores, seconds)
