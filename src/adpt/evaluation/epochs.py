"""Scores of the test images while a method is trained, and the best epoch of each metric."""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adpt.running.whole_files import replacing

Metrics = dict[str, float]


@dataclass(frozen=True)
class TrainingPlan:
    """How trained methods are trained.

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


class EpochChecks:
    """Measures a method at some epochs of its training, and remembers what came out.

    What was found lies beside the state of the training, so that an interruption loses none of it.

    Args:
        plan: How often, and where to keep it.
        epochs: Of the whole training; 0 of a method that is not trained.
        measure: The method's metrics as it is now, by class.

    Attributes:
        seconds: Time that it took.
    """

    def __init__(
        self, plan: TrainingPlan, epochs: int, measure: Callable[[], dict[str, Metrics]]
    ) -> None:
        self.plan, self.total, self.measure = plan, epochs, measure
        shares = range(1, plan.checks)  # The last of the checks is the end itself.
        self.epochs = {max(1, round(epochs * n / plan.checks)) for n in shares} - {epochs}
        self.path = plan.folder / "checks.json" if plan.folder else None
        self.found: dict[int, dict[str, Metrics]] = {}
        self.losses: dict[int, float] = {}
        self.seconds = 0.0
        if self.path and self.path.exists():
            kept = json.loads(self.path.read_text())
            self.found = {int(epoch): value for epoch, value in kept["found"].items()}
            self.losses = {int(epoch): value for epoch, value in kept["losses"].items()}

    def __call__(self, epoch: int, loss: float) -> None:
        """Look at the method after an epoch, if it is due."""
        if epoch not in self.epochs and epoch != self.total:
            return
        started = time.perf_counter()
        self.losses[epoch] = loss
        if epoch in self.epochs:
            self.found[epoch] = self.measure()
        if self.path:
            with replacing(self.path) as temporary:
                temporary.write_text(json.dumps({"found": self.found, "losses": self.losses}))
        self.seconds += time.perf_counter() - started

    def report(
        self, class_name: str, last: Metrics
    ) -> tuple[Metrics, dict[str, int], tuple[Metrics, ...]]:
        """Metrics, epochs and history of a class, for its record.

        Args:
            class_name: The class.
            last: Its metrics in the end; of untrained methods all there is.
        """
        if not self.total:
            return last, {}, ()
        found = {epoch: values[class_name] for epoch, values in sorted(self.found.items())}
        history = tuple(
            {"epoch": epoch, "loss": self.losses.get(epoch, float("nan")), **metrics}
            for epoch, metrics in (found | {self.total: last}).items()
        )
        epochs = {"trained": self.total}
        if not self.plan.best_epoch:
            return last, epochs, history
        best, best_epochs = best_of(history, last)
        return best, epochs | best_epochs, history

    def forget(self) -> None:
        """Remove the folder: the outcome holds all of it."""
        if self.plan.folder:
            shutil.rmtree(self.plan.folder, ignore_errors=True)


def best_of(
    history: Sequence[Mapping[str, float]], metrics: Metrics
) -> tuple[Metrics, dict[str, int]]:
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
