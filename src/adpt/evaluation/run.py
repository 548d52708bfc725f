"""Run anomaly detection methods on features: fit, score, measure."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import accumulate

import torch
from torch import Tensor

from adpt.evaluation.class_data import ClassData, features_of
from adpt.evaluation.epochs import EpochChecks, TrainingPlan
from adpt.evaluation.feature_views import Chained
from adpt.evaluation.features import Features
from adpt.evaluation.measured_costs import MethodCosts, in_memory, wait_for
from adpt.evaluation.measuring import Measuring
from adpt.methods.base import Method, Scores, checked, tells_left_out
from adpt.methods.feature_sets import DefectSet
from adpt.methods.trained import TrainedMethod
from adpt.metrics import Good, Scored
from adpt.projector import FeatureProjector
from adpt.residual import Kind
from adpt.results.details import Details, details_of
from adpt.running.checkpoints import LAST
from adpt.running.progress import Progress, no_progress


@dataclass(frozen=True)
class Outcome:
    """The result of one method on one class and one kind of features.

    Attributes:
        method: The method's name.
        kind: The features.
        metrics: As `anomaly_metrics` gives them, the paper's AUPRO included, and further ones.
        maps: (N, H, W) float32 score maps of the test images.
        image_scores: (N,).
        details: What pictures of it are made of.
        seconds: Time of `fit` and `score`.
        epochs: Of trained methods, as in `Record.epochs`.
        history: Of trained methods, as in `Record.history`.
        intervals: As in `Record.intervals`.
        scored: The test images as metrics saw them.
        costs: As in `Record.costs`.
    """

    method: str
    kind: Kind
    metrics: dict[str, float]
    maps: Tensor
    image_scores: Tensor
    details: Details
    seconds: dict[str, float]
    epochs: dict[str, int]
    history: tuple[dict[str, float], ...]
    intervals: dict[str, tuple[float, float]]
    scored: Scored
    costs: dict[str, float] = field(default_factory=dict)


def run_methods(
    encoded: ClassData,
    methods: Mapping[str, Callable[[], Method]],
    kinds: Sequence[Kind],
    *,
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
                make(),
                [train],
                {encoded.name: test},
                name=name,
                kind=kind,
                batch_size=batch_size,
                device=device,
            )
            outcomes.append(found[encoded.name])
    return outcomes


def run_method(
    method: Method,
    train: Sequence[Features],
    tests: Mapping[str, Features],
    *,
    name: str,
    kind: Kind,
    batch_size: int,
    device: torch.device,
    plan: TrainingPlan | None = None,
    defects: DefectSet | None = None,
    measuring: Measuring | None = None,
    costing: MethodCosts | None = None,
    progress: Progress = no_progress,
) -> dict[str, Outcome]:
    """Fit one method on training features and score test features with it.

    Args:
        method: Fresh.
        train: Normal features of one class, or of several for a method that is one for all.
        tests: Class to its test features.
        name: What the method is called.
        kind: The features' kind.
        batch_size: Images at a time; changes no score.
        device: Where to compute.
        plan: For trained methods; as `TrainingPlan` has it by default.
        defects: For methods that train on synthetic ones: features of the training images with one.
        measuring: What is measured; the seven metrics and the paper's AUPRO by default.
        costing: Measures what the method costs; None leaves it out.
        progress: Told of epochs.

    Returns:
        Class to outcome.
    """
    measuring = measuring or Measuring()
    train = [part.seen_by(method.uses_class_token) for part in train]
    tests = {name: test.seen_by(method.uses_class_token) for name, test in tests.items()}

    def measure() -> dict[str, dict[str, float]]:
        with costing.memory.paused() if costing else nullcontext():
            return {
                name: measuring.measure(
                    measuring.scored(score(method, test, batch_size, device), test)
                )
                for name, test in tests.items()
            }

    plan = plan or TrainingPlan()
    resumed = plan.folder is not None and (plan.folder / LAST).exists()
    if costing:
        train = costing.start(train, next(iter(tests.values())), plan.memory_gb)
    started = time.perf_counter()
    method.to(device)
    checks = EpochChecks(plan, method.epochs if isinstance(method, TrainedMethod) else 0, measure)
    if isinstance(method, TrainedMethod):
        held = [features.source for features in in_memory(train, plan.memory_gb)]
        method.train_on(
            held[0] if len(held) == 1 else Chained(held),
            device,
            defects=defects,
            after_epoch=checks,
            folder=plan.folder,
            progress=progress,
        )
    else:
        with torch.no_grad():
            method.fit(
                batch for features in train for batch in features.batches(batch_size, device)
            )
    wait_for(device)
    # Scoring during training is not fitting: its time is left out.
    fitting = time.perf_counter() - started - checks.seconds
    costs = costing.finish(method, None if resumed else fitting, len(tests)) if costing else {}
    outcomes = {}
    good = GoodScorer(method, train, batch_size, device)
    shared = len(train) == len(tests)
    for number, (class_name, test) in enumerate(tests.items()):
        begun = time.perf_counter()
        scores = score(method, test, batch_size, device)
        seconds = {"fit": fitting / len(tests), "score": time.perf_counter() - begun}
        part = number if shared else None
        scored = measuring.scored(scores, test, partial(good, part, test.validation))
        measured = measuring.measure(scored)
        metrics, epochs, history = checks.report(class_name, measured)
        # Figures of epochs that were chosen have no resamples.
        intervals = measuring.intervals(scored) if metrics is measured else {}
        rankings = scored.rankings if scored.at_network else None
        details = details_of(
            test.paths, test.labels, test.masks, scores.image, scores.maps, rankings
        )
        outcomes[class_name] = Outcome(
            name, kind, metrics, scores.maps, scores.image, details, seconds, epochs, history,
            intervals, scored, costs,
        )  # fmt: skip
    checks.forget()
    return outcomes


@torch.no_grad()
def score(method: Method, test: Features, batch_size: int, device: torch.device) -> Scores:
    """Scores of all images, on the CPU, in float32 unless the method gives doubles."""
    if method.looks_at_all:
        method.look_at(test.batches(batch_size, device))
    batches = test.batches(batch_size, device)
    scores = [checked(method, method.score(levels)) for levels in batches]
    maps = torch.cat([_at_least_single(part.maps) for part in scores])
    return Scores(maps, torch.cat([_at_least_single(part.image) for part in scores]))


def _at_least_single(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32)).cpu()


class GoodScorer:
    """Scores of good images that are no test images: those for validation, where a set has some.

    Otherwise those of the images that a method was fitted on, each as if it had not been there.

    Args:
        method: Fitted.
        train: What it was fitted on.
        batch_size: Images at a time.
        device: Where to compute.
    """

    def __init__(
        self, method: Method, train: Sequence[Features], batch_size: int, device: torch.device
    ) -> None:
        self.method, self.train = method, train
        self.batch_size, self.device = batch_size, device

    def __call__(self, part: int | None = None, validation: Features | None = None) -> Good | None:
        """The scores; None where only fitting again could tell.

        Args:
            part: Which of the training features; None for all.
            validation: Features of the images for validation.
        """
        if validation is not None:
            found = score(self.method, validation, self.batch_size, self.device)
            return Good(found.maps.numpy(), found.image.numpy())
        if (scores := self._scores) is None:
            return None
        ends = list(accumulate(map(len, self.train), initial=0))
        rows = slice(None) if part is None else slice(ends[part], ends[part + 1])
        return Good(scores.maps[rows].cpu().numpy(), scores.image[rows].cpu().numpy())

    @cached_property
    def _scores(self) -> Scores | None:
        if not tells_left_out(type(self.method)) or sum(map(len, self.train)) < 2:
            return None
        with torch.no_grad():
            return self.method.left_out_scores(
                batch for part in self.train for batch in part.batches(self.batch_size, self.device)
            )
