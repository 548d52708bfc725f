"""A table's cells, run: one method on one class and one kind of features, each recorded once."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

from adpt.backbones import Backbone
from adpt.data import AnomalyDataModule
from adpt.data.sample import Split
from adpt.data.texture_defects import TextureDefects
from adpt.errors import UserError
from adpt.evaluation.beside_records import BesideRecords
from adpt.evaluation.cells import Cell
from adpt.evaluation.class_data import ClassData, Pair, counts_of
from adpt.evaluation.defect_pool import DefectPool
from adpt.evaluation.encoding import Encoder, LoadedProjector
from adpt.evaluation.epochs import TrainingPlan
from adpt.evaluation.failures import Failure
from adpt.evaluation.feature_cache import FeatureCache
from adpt.evaluation.identity import Identity
from adpt.evaluation.measured_costs import EncodingCosts
from adpt.evaluation.measuring import Measuring
from adpt.evaluation.run import Outcome, run_method
from adpt.evaluation.submission import Submission
from adpt.evaluation.training_set import TrainingSet
from adpt.methods.feature_sets import DefectSet
from adpt.residual import Kind
from adpt.results import Record
from adpt.results.details import save_details
from adpt.results.embedding import embed, save_embedding
from adpt.running.interruption import stopped_behind
from adpt.running.names import printable
from adpt.running.progress import Progress, StepBar
from adpt.running.whole_files import is_full_disk

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(kw_only=True)
class Evaluation:
    """Runs the cells of one set with one backbone.

    Args:
        identity: Knows the set, the methods and the setting, and tells their cells apart.
        kinds: Which features to use.
        backbone: On `device`.
        projector: On `device`; None where there is none.
        device: Where to compute.
        folder: Where details, heatmaps and the state of interrupted trainings go.
        cache: Keeps features on disk.
        defects: Makes the synthetic defects that some methods train on.
        measuring: What is measured, as of `run_method`.
        submission: Writes the files that a benchmark's server takes; None writes none.
        costs: True measures what each method costs.
        origin: Provenance of the records.

    Attributes:
        cells: All cells, class by class.
        failures: What could not be had.
    """

    identity: Identity
    kinds: Sequence[Kind]
    backbone: Backbone
    projector: LoadedProjector | None
    device: torch.device
    folder: Path
    cache: FeatureCache | None = None
    defects: TextureDefects | None = None
    measuring: Measuring | None = None
    submission: Submission | None = None
    costs: bool = False
    origin: dict[str, Any] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.data, self.setting = self.identity.data, self.identity.setting
        self.methods = self.identity.methods
        unknown = sorted(set(self.setting.tsne) - set(self.data.classes))
        if unknown:
            raise UserError(
                f"tsne={list(self.setting.tsne)}: {', '.join(unknown)} is no class in use; these"
                f" are {', '.join(self.data.classes)}."
            )
        self.cells = self.identity.cells(self.kinds)
        self.files = BesideRecords(self.folder, self.data, self.cells, self.setting.heatmaps)
        training = self.identity.training
        self.encoder = self._encoder("data", self.data, "test" if training else None)
        self.encoding_costs = EncodingCosts(self.encoder)
        self.training: TrainingSet | None = None
        if training:
            labelled = any(spec.uses_labels for spec in self.methods.values())
            encoder = self._encoder("train_data", training, None if labelled else "train")
            # Lists name the references of classes that are tested.
            self.training = TrainingSet(replace(encoder, setting=replace(self.setting, lists=None)))

    def run(self, cells: Sequence[Cell]) -> Iterator[Record]:
        """Run some cells; a failure is kept in `failures`, and the others go on.

        Methods that are one for several classes come last, for they need all their features.

        Args:
            cells: Some of `cells`.

        Yields:
            The records, each when it is there. Details and heatmaps are written before.

        Raises:
            Exception: The disk is full: nothing more could be recorded. See `is_full_disk`.
        """
        together = [cell for cell in cells if self.training or self.methods[cell.method].unified]
        encoded: dict[str, ClassData] = {}
        if self.training and cells:
            with StepBar("train_data") as progress:
                if self._try("train_data", self.training.encode, progress) is None:
                    return
        for name in self.data.classes:
            due = [cell for cell in cells if cell.class_name == name]
            own = [cell for cell in due if cell not in together]
            shared = due if self.training else together
            embedding = self.files.embedding(name) if name in self.setting.tsne else None
            if embedding and due:
                embedding.unlink(missing_ok=True)  # Of other features than the results to come.
            if not (own or shared or (embedding and not embedding.exists())):
                continue
            with StepBar(name) as progress:
                found = self._try(name, self.encoder.encode, name, progress)
                if found is None:
                    continue
                if shared:
                    encoded[name] = found
                yield from self._run_cells(own, {name: found}, name, progress)
                if embedding and not embedding.exists():
                    self._try(f"{name}, t-SNE", self._write_embedding, found, embedding)
        if self.training:
            together = [cell for cell in together if cell.class_name in encoded]
        if together and encoded:
            with StepBar("all classes") as progress:
                yield from self._run_cells(together, encoded, "all classes", progress)

    def render_again(self, cells: Sequence[Cell]) -> None:
        """Render the heatmaps of recorded cells anew, where those of other options lie.

        Patch features that were embedded go, and `run` embeds them where they are asked for.
        """
        for name, method in dict.fromkeys((cell.class_name, cell.method) for cell in cells):
            self.files.embedding(name).unlink(missing_ok=True)
            self._try(f"{name}, heatmaps of {method}", self.files.write_panels, name, method)

    # ---- From features to records ------------------------------------------------------------

    def _encoder(self, part: str, data: AnomalyDataModule, only: Split | None) -> Encoder:
        return Encoder(
            data=data,
            backbone=self.backbone,
            projector=self.projector,
            setting=self.setting,
            device=self.device,
            cache=self.cache.where(self.identity.of_features(part)) if self.cache else None,
            only=only,
            class_token=any(spec.uses_class_token for spec in self.methods.values()),
        )

    def _run_cells(
        self,
        cells: Sequence[Cell],
        encoded: Mapping[str, ClassData],
        whose: str,
        progress: Progress,
    ) -> Iterator[Record]:
        """Run cells on these classes' features, one method on all of them at a time."""
        for kind in dict.fromkeys(cell.kind for cell in cells):
            features = self._try(f"{whose}, {kind} features", self._features, encoded, kind)
            if features is None:
                continue
            due = [cell for cell in cells if cell.kind == kind]
            for name in dict.fromkeys(cell.method for cell in due):
                what = f"{name} on {kind} features"
                progress(what, 0, 1)
                same = [cell for cell in due if cell.method == name]
                records = self._try(
                    f"{whose}, {what}", self._run_method, same, encoded, features, progress
                )
                yield from records or []
        for class_name, name in dict.fromkeys((cell.class_name, cell.method) for cell in cells):
            self._try(
                f"{class_name}, heatmaps of {name}", self.files.write_panels, class_name, name
            )

    def _features(self, encoded: Mapping[str, ClassData], kind: Kind) -> dict[str, Pair]:
        return {name: self.encoder.features(one, kind) for name, one in encoded.items()}

    def _run_method(
        self,
        cells: Sequence[Cell],
        encoded: Mapping[str, ClassData],
        features: Mapping[str, Pair],
        progress: Progress,
    ) -> list[Record]:
        """Cells of one method and kind of features, from one model."""
        name, kind = cells[0].method, cells[0].kind
        spec = self.methods[name]
        missing = [one for one in self.data.classes if one not in encoded]
        if spec.unified and missing and not self.training:
            raise UserError(
                f"{name} is one model for all classes, and {', '.join(sorted(missing))} could not"
                " be encoded: mend them, or leave them out with data.classes."
            )
        train = [train for train, _ in features.values()]
        defects: DefectSet | None = None
        if self.training and spec.uses_labels:
            train, defects = self.training.labelled(kind)
        elif self.training:
            train = self.training.normal(kind)
        elif spec.uses_defects and not spec.unified:
            defects = self._defect_pool(cells[0], encoded[cells[0].class_name], progress)
        costing = self.encoding_costs.of_method(encoded, kind) if self.costs else None
        outcomes = run_method(
            spec.make[kind](),
            train,
            {class_name: test for class_name, (_, test) in features.items()},
            name=name,
            kind=kind,
            batch_size=self.data.batch_size,
            device=self.device,
            plan=TrainingPlan(
                self.setting.checks,
                self.setting.protocol == "paper",
                self.folder / "unfinished" / cells[0].sha256[:16],
                self.setting.memory_gb,
            ),
            measuring=self.measuring,
            defects=defects,
            costing=costing,
            progress=lambda what, done, total: progress(
                f"{name} on {kind} features, {what}", done, total
            ),
        )
        fitted_on = sum(map(len, train)) if self.training else None
        return [
            self._record(cell, encoded[cell.class_name], outcomes[cell.class_name], fitted_on)
            for cell in cells
        ]

    def _defect_pool(self, cell: Cell, encoded: ClassData, progress: Progress) -> DefectPool | None:
        if self.defects is None:
            return None
        sample_of = {str(sample.image): sample for sample in self.data.samples}
        through = self.projector.module if self.projector and cell.kind == "pretrained" else None
        convert = partial(encoded.references.convert, projector=through)
        return DefectPool(
            [sample_of[path] for path in encoded.train.paths],
            self.data.geometry,
            self.backbone.encoding(self.methods[cell.method].uses_class_token),
            self.defects,
            batch_size=self.data.batch_size,
            convert=None if cell.kind == "own" else convert,
            device=self.device,
            refresh=self.setting.refresh,
            seed=self.setting.seed,
            progress=progress,
        )

    # ---- What is written ---------------------------------------------------------------------

    def _record(
        self, cell: Cell, encoded: ClassData, outcome: Outcome, fitted_on: int | None
    ) -> Record:
        if self.submission is not None:
            self.submission.write(cell, outcome.maps, outcome.scored)
        path = self.files.details(cell)
        save_details(outcome.details, path)
        projector = self.projector.file if self.projector and cell.kind == "pretrained" else None
        root = str(self.data.root.absolute())
        with_references = self.setting.with_references(cell.kind)
        paths = encoded.references.paths if with_references else []
        references = [str(Path(name).absolute()).removeprefix(f"{root}/") for name in paths]
        return Record(
            dataset=self.data.set_name,
            class_name=cell.class_name,
            method=cell.method,
            features=cell.kind,
            backbone=self.backbone.name,
            metrics=outcome.metrics,
            intervals=outcome.intervals,
            protocol=self.setting.protocol,
            seed=self.setting.seed,
            shots=self.setting.shots if with_references else None,
            references=tuple(map(printable, references)),
            projector=projector.name if projector else None,
            projector_sha256=projector.sha256 if projector else None,
            backbone_sha256=self.backbone.fingerprint,
            counts={
                "train": len(encoded.train) if fitted_on is None else fitted_on,
                **counts_of(encoded.test),
                "skipped": len(encoded.train.skipped) + len(encoded.test.skipped),
            },
            seconds={"features": encoded.seconds, **outcome.seconds},
            costs=outcome.costs,
            provenance=self.origin,
            setting=self.identity.differences(),
            options=self.methods[cell.method].changed[cell.kind],
            cell=cell.sha256,
            decides=cell.decides,
            epochs=outcome.epochs,
            history=outcome.history,
            details=path.name,
        )

    def _write_embedding(self, encoded: ClassData, path: Path) -> None:
        levels = {
            str(kind): self.encoder.features(encoded, kind)[1].seen_by(False).levels[-1]
            for kind in self.kinds
        }
        save_embedding(path, embed(levels, encoded.test.masks, self.setting.seed))

    def _try(self, where: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """The result, or None after a failure, which is kept; a full disk or a stop is raised."""
        try:
            return work(*args, **kwargs)
        except Exception as error:
            if is_full_disk(error) or stopped_behind(error):
                raise
            failure = Failure(where, error)
            said = any(one.message == failure.message for one in self.failures)
            log.log(logging.DEBUG if said else logging.ERROR, "%s failed: %s", where, error)
            log.debug("", exc_info=True)
            self.failures.append(failure)
            return None
