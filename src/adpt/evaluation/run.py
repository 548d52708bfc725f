"""Run anomaly detection methods on a class: on its own, residual and pretrained features."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from adpt.backbones.base import Backbone
from adpt.data import AnomalyDataModule
from adpt.data.references import choose_references
from adpt.errors import DataError, UserError
from adpt.evaluation.feature_cache import FeatureCache
from adpt.evaluation.features import Chained, Features, extract
from adpt.evaluation.matching import (
    AlignedReferences,
    FixedReferences,
    References,
    convert_features,
)
from adpt.methods.base import Method, Scores
from adpt.methods.trained import DefectSet, TrainedMethod
from adpt.metrics import anomaly_metrics
from adpt.projector import FeatureProjector
from adpt.residual import KINDS, Kind
from adpt.results.blanks import lacks
from adpt.running.files import replacing
from adpt.running.progress import Progress, no_progress

log = logging.getLogger(__name__)


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
        epochs: Of trained methods, as in `Record.epochs`.
        history: Of trained methods, as in `Record.history`.
    """

    method: str
    kind: Kind
    metrics: dict[str, float]
    maps: Tensor
    image_scores: Tensor
    seconds: dict[str, float]
    epochs: dict[str, int]
    history: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class Watch:
    """How the training of trained methods is looked at and kept.

    Attributes:
        checks: How often, evenly from early to late, the test images are scored in training.
        best_epoch: Report for each metric the best of the checked epochs, as the `paper` protocol
            does, not the last epoch.
        folder: Keeps the state of an interrupted training; None keeps none.
        memory_gb: Features up to this size are held in memory while training.
    """

    checks: int = 0
    best_epoch: bool = False
    folder: Path | None = None
    memory_gb: float = 4.0


@dataclass(frozen=True)
class ClassData:
    """A class, encoded once, with its references.

    Attributes:
        name: The class.
        train: Own features of the training images.
        test: Own features of the test images.
        references: What residual features are taken against.
        seconds: Time that encoding took.
    """

    name: str
    train: Features
    test: Features
    references: References
    seconds: float

    @property
    def num_bytes(self) -> int:
        """Memory that the features take where nothing is cached."""
        return self.train.num_bytes + self.test.num_bytes


def choose_kinds(wanted: Sequence[str] | None, projector: FeatureProjector | None) -> list[Kind]:
    """The kinds of features to evaluate: those asked for, or all that can be had.

    Raises:
        UserError: A kind is unknown, or "pretrained" is asked for without a projector.
    """
    if wanted is None:
        return [kind for kind in KINDS if projector is not None or kind != "pretrained"]
    unknown = [name for name in wanted if name not in KINDS]
    if unknown or not wanted:
        raise UserError(f"features={list(wanted)}: choose some of {', '.join(KINDS)}.")
    if projector is None and "pretrained" in wanted:
        raise UserError("features=[pretrained] needs a projector: projector=<path>.")
    return [kind for kind in KINDS if kind in wanted]


def encode_class(
    data: AnomalyDataModule,
    class_name: str,
    backbone: Backbone,
    shots: int,
    seed: int,
    device: torch.device,
    progress: Progress = no_progress,
    *,
    few_shot: bool = False,
    aligned: int | None = None,
    cache: FeatureCache | None = None,
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
        few_shot: Whether the references are all the training images there are.
        aligned: Give each image this many nearest training images as its references instead.
        cache: Keeps features on disk.

    Raises:
        BadImageError: A file cannot be read and the data module does not skip such files.
        DataError: The class has no test image or no normal training image that can be read.
    """
    started = time.perf_counter()
    samples = data.select("train", class_name=class_name)
    train = extract(backbone, data, samples, device, progress, cache)
    tested = data.select("test", class_name=class_name)
    test = extract(backbone, data, tested, device, progress, cache)
    readable = set(train.paths)
    normal = [s for s in samples if s.label == 0 and str(s.image) in readable]
    if not normal or not len(test):
        what, found = ("test", test) if normal else ("normal training", train)
        unreadable = f" that can be read ({len(found.skipped)} cannot)" if found.skipped else ""
        raise DataError(
            f"Class '{class_name}' of {data.root} has no {what} image{unreadable}: nothing to"
            " evaluate. Add some, or leave the class out with data.classes."
        )
    if any(sample.unmarked for sample in tested):
        test = replace(test, masks=test.masks[:, :0, :0])
    for sentence in lacks(counts_of(test)):
        log.warning("%s: %s.", class_name, sentence)
    chosen = [str(sample.image) for sample in choose_references(normal, shots, seed)]
    if few_shot:
        train = train.take([train.paths.index(path) for path in chosen])
    references: References
    if aligned is None:
        references = FixedReferences(train, chosen, device)
    else:
        references = AlignedReferences(train, chosen, device, aligned)
    return ClassData(class_name, train, test, references, time.perf_counter() - started)


def features_of(
    encoded: ClassData,
    kind: Kind,
    projector: FeatureProjector | None,
    batch_size: int,
    cache: FeatureCache | None = None,
    projector_sha256: str | None = None,
) -> tuple[Features, Features]:
    """A class's training and test features of one kind; arguments as of `convert_features`."""
    if kind == "own":
        return encoded.train, encoded.test
    through = projector if kind == "pretrained" else None
    train, test = (
        convert_features(features, encoded.references, through, batch_size, cache, projector_sha256)
        for features in (encoded.train, encoded.test)
    )
    return train, test


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
        train, test = features_of(encoded, kind, projector, batch_size)
        for name, make in methods.items():
            progress(f"{name} on {kind} features", len(outcomes), len(kinds) * len(methods))
            found = run_method(
                name, kind, make(), [train], {encoded.name: test}, batch_size, device
            )
            outcomes.append(found[encoded.name])
    return outcomes


def run_method(
    name: str,
    kind: Kind,
    method: Method,
    train: Sequence[Features],
    tests: Mapping[str, Features],
    batch_size: int,
    device: torch.device,
    watch: Watch = Watch(),
    defects: DefectSet | None = None,
    progress: Progress = no_progress,
) -> dict[str, Outcome]:
    """Fit one method on training features and score test features with it.

    Args:
        name: What the method is called.
        kind: The features' kind.
        method: Fresh.
        train: Normal features of one class, or of several for a method that is one for all.
        tests: Class to its test features.
        batch_size: Images at a time; changes no score.
        device: Where to compute.
        watch: For trained methods.
        defects: For methods that train on drawn defects: features of the training images with one.
        progress: Told of epochs.

    Returns:
        Class to outcome.
    """
    started = time.perf_counter()
    checked = _Checks(tests, watch, method.epochs if isinstance(method, TrainedMethod) else 0)
    if isinstance(method, TrainedMethod):
        total_gb = sum(features.num_bytes for features in train) / 1e9
        held = [f.held(watch.memory_gb if total_gb <= watch.memory_gb else 0) for f in train]
        # Scoring during training is not fitting: its time is left out.
        method.to(device).train_on(
            held[0] if len(held) == 1 else Chained(held),
            device,
            defects=defects,
            after_epoch=lambda epochs, loss: checked(method, epochs, loss, batch_size, device),
            folder=watch.folder,
            progress=progress,
        )
    else:
        with torch.no_grad():
            method.to(device).fit(
                batch for features in train for batch in features.batches(batch_size, device)
            )
    fitted = time.perf_counter()
    outcomes = {}
    for class_name, test in tests.items():
        begun = time.perf_counter()
        scores = score(method, test, batch_size, device)
        seconds = {
            "fit": (fitted - started - checked.seconds) / len(tests),
            "score": time.perf_counter() - begun,
        }
        metrics = metrics_of(scores, test)
        epochs, history = checked.of(class_name, metrics)
        if watch.best_epoch and history:
            metrics, best = _best(history, metrics)
            epochs |= best
        outcomes[class_name] = Outcome(
            name, kind, metrics, scores.maps, scores.image, seconds, epochs, history
        )
    checked.forget()
    return outcomes


@torch.no_grad()
def score(method: Method, test: Features, batch_size: int, device: torch.device) -> Scores:
    """Scores of all images, on the CPU in float32."""
    scores = [method.score(levels) for levels in test.batches(batch_size, device)]
    maps = torch.cat([part.maps.float().cpu() for part in scores])
    return Scores(maps, torch.cat([part.image.float().cpu() for part in scores]))


def metrics_of(scores: Scores, test: Features) -> dict[str, float]:
    """All metrics of a class, nan where the test images define none."""
    masks = test.masks if test.marked else None
    return anomaly_metrics(scores.maps, masks, scores.image, labels=test.labels, paper_aupro=True)


def counts_of(test: Features) -> dict[str, int]:
    """What `Record.counts` says of test images."""
    counts = {"test": len(test), "anomalous": int(test.labels.sum())}
    if test.marked:
        counts["marked"] = int(test.masks[test.labels > 0].flatten(1).any(dim=1).sum())
    return counts


class _Checks:
    """Scores the test images at some epochs of a training, and remembers what came out.

    What was found lies beside the state of the training, so that an interruption loses none of it.
    """

    def __init__(self, tests: Mapping[str, Features], watch: Watch, epochs: int) -> None:
        self.tests, self.watch, self.total = tests, watch, epochs
        shares = range(1, watch.checks)  # The last of the checks is the end itself.
        self.epochs = {max(1, round(epochs * n / watch.checks)) for n in shares} - {epochs}
        self.path = watch.folder / "checks.json" if watch.folder else None
        self.found: dict[int, dict[str, dict[str, float]]] = {}
        self.losses: dict[int, float] = {}
        self.seconds = 0.0
        if self.path and self.path.exists():
            kept = json.loads(self.path.read_text())
            self.found = {int(epoch): value for epoch, value in kept["found"].items()}
            self.losses = {int(epoch): value for epoch, value in kept["losses"].items()}

    def __call__(
        self, method: Method, epoch: int, loss: float, batch_size: int, device: torch.device
    ) -> None:
        if epoch not in self.epochs and epoch != self.total:
            return
        started = time.perf_counter()
        self.losses[epoch] = loss
        if epoch in self.epochs:
            self.found[epoch] = {
                name: metrics_of(score(method, test, batch_size, device), test)
                for name, test in self.tests.items()
            }
        if self.path:
            with replacing(self.path) as temporary:
                temporary.write_text(json.dumps({"found": self.found, "losses": self.losses}))
        self.seconds += time.perf_counter() - started

    def of(
        self, class_name: str, last: dict[str, float]
    ) -> tuple[dict[str, int], tuple[dict[str, float], ...]]:
        """Epochs and history of a class, for its record; both empty for untrained methods."""
        if not self.total:
            return {}, ()
        found = {epoch: values[class_name] for epoch, values in sorted(self.found.items())}
        history = tuple(
            {"epoch": epoch, "loss": self.losses.get(epoch, float("nan")), **metrics}
            for epoch, metrics in (found | {self.total: last}).items()
        )
        return {"trained": self.total}, history

    def forget(self) -> None:
        """Remove the folder: the outcome holds all of it."""
        if self.watch.folder:
            shutil.rmtree(self.watch.folder, ignore_errors=True)


def _best(
    history: Sequence[dict[str, float]], metrics: dict[str, float]
) -> tuple[dict[str, float], dict[str, int]]:
    """Each metric's best value over the checked epochs, and that epoch; the first of equals."""
    best, epochs = {}, {}
    for name in metrics:
        known = [entry for entry in history if entry.get(name, float("nan")) == entry.get(name)]
        if not known:
            best[name] = metrics[name]
            continue
        top = max(known, key=lambda entry: entry[name])
        best[name], epochs[name] = top[name], int(top["epoch"])
    return best, epochs
