"""The cells of a table: one method on one class and one kind of features, each recorded once."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

from adpt.backbones import Backbone
from adpt.data import AnomalyDataModule
from adpt.data.texture_defects import TextureDefects
from adpt.errors import UserError
from adpt.evaluation import (
    ClassData,
    DefectPool,
    FeatureCache,
    Features,
    Kind,
    Outcome,
    Watch,
    counts_of,
    encode_class,
    features_of,
    run_method,
)
from adpt.evaluation.cells import Cell, Identity, MethodSpec, Setting
from adpt.evaluation.panels import class_folder, write_panels
from adpt.methods.trained import TrainedMethod
from adpt.projector import FeatureProjector
from adpt.results import Record
from adpt.results.details import details_of, load_details, save_details
from adpt.results.embedding import embed, save_embedding
from adpt.running.files import is_full_disk, mark_output
from adpt.running.names import printable
from adpt.running.progress import Progress, StepBar

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """Results that could not be had, and why."""

    where: str
    error: Exception


@dataclass
class Evaluation:
    """Runs the cells of one set with one backbone.

    Args:
        config: The resolved config, as plain values: it decides over the cells' results.
        data: Set up for testing.
        backbone: On `device`.
        projector: On `device`; None where there is none.
        projector_path: Its file.
        projector_sha256: Hash of the file.
        methods: By name.
        kinds: Which features to use.
        setting: What the experiment fixes.
        folder: Where details, heatmaps and the state of interrupted trainings go.
        device: Where to compute.
        cache: Keeps features on disk.
        defects: Draws the defects that some methods train on.
        origin: Provenance of the records.

    Attributes:
        cells: All cells, class by class.
        failures: What could not be had.
    """

    config: Mapping[str, Any]
    data: AnomalyDataModule
    backbone: Backbone
    projector: FeatureProjector | None
    projector_path: str | None
    projector_sha256: str | None
    methods: Mapping[str, MethodSpec]
    kinds: Sequence[Kind]
    setting: Setting
    folder: Path
    device: torch.device
    cache: FeatureCache | None = None
    defects: TextureDefects | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.setting.tsne) - set(self.data.classes))
        if unknown:
            raise UserError(
                f"tsne={list(self.setting.tsne)}: {', '.join(unknown)} is no class in use; these"
                f" are {', '.join(self.data.classes)}."
            )
        self.projector_fingerprint = self.projector.fingerprint if self.projector else None
        with StepBar("Identifying", shown=len(self.data.samples) > 5000) as progress:
            self.identity = Identity(
                self.config,
                self.data,
                self.backbone,
                self.projector_fingerprint,
                self.methods,
                self.setting,
                progress,
            )
            self.cells = [
                self.identity.cell(name, method, kind)
                for name in self.data.classes
                for kind in self.kinds
                for method in self.methods
            ]
        if self.cache is not None:
            self.cache = self.cache.where(self.identity.of_features())

    def run(self, cells: Sequence[Cell]) -> Iterator[Record]:
        """Run some cells; a failure is kept in `failures`, and the others go on.

        Methods that are one for all classes come last, for they need all classes' features.

        Args:
            cells: Some of `cells`.

        Yields:
            The records, each when it is there. Details and heatmaps are written before.

        Raises:
            Exception: The disk is full: nothing more could be recorded. See `is_full_disk`.
        """
        unified = [cell for cell in cells if self.methods[cell.method].unified]
        encoded: dict[str, ClassData] = {}
        for name in self.data.classes:
            due = [cell for cell in cells if cell.class_name == name]
            own = [cell for cell in due if cell not in unified]
            drawn = self._embedding_path(name) if name in self.setting.tsne else None
            if drawn and due:
                drawn.unlink(missing_ok=True)  # Of other features than the results to come.
            wanted = own or (drawn and not drawn.exists())
            if not wanted and not unified:
                continue
            with StepBar(name) as progress:
                found = self._try(name, self._encode, name, progress)
                if found is None:
                    continue
                if unified:
                    encoded[name] = found
                yield from self._run_class(found, own, progress)
                if drawn and not drawn.exists():
                    self._try(f"{name}, t-SNE", self._draw_embedding, found, drawn)
        if unified and encoded:
            with StepBar("all classes") as progress:
                yield from self._run_unified(encoded, unified, progress)

    def draw_again(self, cells: Sequence[Cell]) -> None:
        """Draw the heatmaps of recorded cells anew, where those of other options lie.

        Patch features that were drawn go, and `run` draws them where they are asked for.
        """
        for name, method in dict.fromkeys((cell.class_name, cell.method) for cell in cells):
            self._embedding_path(name).unlink(missing_ok=True)
            self._try(f"{name}, heatmaps of {method}", self._draw_panels, name, method)

    def raise_failures(self) -> None:
        """Say what failed, if anything did.

        Raises:
            UserError: Something failed; the message names all of it.
        """
        if not self.failures:
            return
        lines = [f"{one.where}: {one.error or type(one.error).__name__}" for one in self.failures]
        raise UserError(
            f"{len(lines)} of the steps failed; all other results are recorded.\n"
            + "\n".join(lines)
        )

    # ---- One class ---------------------------------------------------------------------------

    def _encode(self, name: str, progress: Progress) -> ClassData:
        return encode_class(
            self.data,
            name,
            self.backbone,
            self.setting.shots,
            self.setting.seed,
            self.device,
            progress,
            few_shot=self.setting.few_shot,
            aligned=self.setting.aligned,
            cache=self.cache,
        )

    def _run_class(
        self, encoded: ClassData, cells: Sequence[Cell], progress: Progress
    ) -> Iterator[Record]:
        for kind in self.kinds:
            due = [cell for cell in cells if cell.kind == kind]
            if not due:
                continue
            where = f"{encoded.name}, {kind} features"
            features = self._try(where, self._features, encoded, kind)
            if features is None:
                continue
            for cell in due:
                progress(f"{cell.method} on {kind} features", 0, 1)
                where = f"{encoded.name}, {cell.method} on {kind} features"
                train, test = features
                record = self._try(where, self._run_cell, cell, encoded, train, test, progress)
                if record is not None:
                    yield record
        for method in dict.fromkeys(cell.method for cell in cells):
            where = f"{encoded.name}, heatmaps of {method}"
            self._try(where, self._draw_panels, encoded.name, method)

    def _features(self, encoded: ClassData, kind: Kind) -> tuple[Features, Features]:
        size, sha256 = self.data.batch_size, self.projector_fingerprint
        return features_of(encoded, kind, self.projector, size, self.cache, sha256)

    def _run_cell(
        self, cell: Cell, encoded: ClassData, train: Features, test: Features, progress: Progress
    ) -> Record:
        method = self.methods[cell.method].make[cell.kind]()
        pool = None
        if isinstance(method, TrainedMethod) and method.uses_defects and self.defects:
            pool = self._defect_pool(encoded, train, cell.kind, self.defects, progress)
        outcomes = run_method(
            cell.method,
            cell.kind,
            method,
            [train],
            {cell.class_name: test},
            self.data.batch_size,
            self.device,
            self._watch(cell.sha256),
            pool,
            lambda what, done, total: progress(
                f"{cell.method} on {cell.kind} features, {what}", done, total
            ),
        )
        return self._record(cell, encoded, test, outcomes[cell.class_name])

    def _defect_pool(
        self,
        encoded: ClassData,
        train: Features,
        kind: Kind,
        defects: TextureDefects,
        progress: Progress,
    ) -> DefectPool:
        sample_of = {str(sample.image): sample for sample in self.data.samples}

        def convert(levels: list[torch.Tensor], paths: Sequence[str]) -> list[torch.Tensor]:
            if kind == "own":
                return levels
            through = self.projector if kind == "pretrained" else None
            return encoded.references.convert(levels, paths, through)

        return DefectPool(
            self.data,
            [sample_of[path] for path in train.paths],
            self.backbone,
            defects,
            convert,
            self.device,
            self.setting.refresh,
            self.setting.seed,
            progress,
        )

    # ---- All classes at once -----------------------------------------------------------------

    def _run_unified(
        self, encoded: Mapping[str, ClassData], cells: Sequence[Cell], progress: Progress
    ) -> Iterator[Record]:
        for kind in self.kinds:
            for name in dict.fromkeys(cell.method for cell in cells if cell.kind == kind):
                due = [cell for cell in cells if (cell.method, cell.kind) == (name, kind)]
                where = f"{name} on {kind} features of all classes"
                progress(where, 0, 1)
                records = self._try(where, self._train_unified, due, encoded, progress)
                yield from records or []
        for cell in cells:
            where = f"{cell.class_name}, heatmaps of {cell.method}"
            self._try(where, self._draw_panels, cell.class_name, cell.method)

    def _train_unified(
        self, cells: Sequence[Cell], encoded: Mapping[str, ClassData], progress: Progress
    ) -> list[Record]:
        name, kind = cells[0].method, cells[0].kind
        missing = set(self.data.classes) - set(encoded)
        if missing:
            raise UserError(
                f"{name} is one model for all classes, and {', '.join(sorted(missing))} could not"
                " be encoded: mend them, or leave them out with data.classes."
            )
        features = {class_name: self._features(one, kind) for class_name, one in encoded.items()}
        outcomes = run_method(
            name,
            kind,
            self.methods[name].make[kind](),
            [train for train, _ in features.values()],
            {class_name: test for class_name, (_, test) in features.items()},
            self.data.batch_size,
            self.device,
            self._watch(cells[0].sha256),
            None,
            lambda what, done, total: progress(f"{name} on {kind} features, {what}", done, total),
        )
        return [
            self._record(
                cell,
                encoded[cell.class_name],
                features[cell.class_name][1],
                outcomes[cell.class_name],
            )
            for cell in cells
        ]

    # ---- What is written ---------------------------------------------------------------------

    def _watch(self, sha256: str) -> Watch:
        return Watch(
            self.setting.checks,
            self.setting.protocol == "paper",
            self.folder / "unfinished" / sha256[:16],
            self.setting.memory_gb,
        )

    def _record(self, cell: Cell, encoded: ClassData, test: Features, outcome: Outcome) -> Record:
        path = self._details_path(cell)
        save_details(
            details_of(test.paths, test.labels, test.masks, outcome.image_scores, outcome.maps),
            path,
        )
        setting = self.setting
        with_references = setting.with_references(cell.kind)
        projected = cell.kind == "pretrained"
        root = str(self.data.root.absolute())
        references = (str(Path(name).absolute()) for name in encoded.references.paths)
        return Record(
            dataset=self.data.set_name,
            class_name=cell.class_name,
            method=cell.method,
            features=cell.kind,
            backbone=self.backbone.name,
            metrics=outcome.metrics,
            protocol=setting.protocol,
            seed=setting.seed,
            shots=setting.shots if with_references else None,
            references=tuple(printable(name.removeprefix(f"{root}/")) for name in references)
            if with_references
            else (),
            projector=self.projector_path if projected else None,
            projector_sha256=self.projector_sha256 if projected else None,
            backbone_sha256=self.backbone.fingerprint,
            counts={
                "train": len(encoded.train),
                **counts_of(encoded.test),
                "skipped": len(encoded.train.skipped) + len(encoded.test.skipped),
            },
            seconds={"features": encoded.seconds, **outcome.seconds},
            provenance=self.origin,
            setting=self.identity.differences(),
            options=self.methods[cell.method].changed[cell.kind],
            cell=cell.sha256,
            decides=cell.decides,
            epochs=outcome.epochs,
            history=outcome.history,
            details=path.name,
        )

    def _details_path(self, cell: Cell) -> Path:
        return self.folder / "details" / f"{cell.sha256[:16]}.npz"

    def _draw_panels(self, class_name: str, method: str) -> None:
        if not self.setting.heatmaps:
            return
        kinds = {
            cell.kind: load_details(self._details_path(cell))
            for cell in self.cells
            if (cell.class_name, cell.method) == (class_name, method)
            and self._details_path(cell).exists()
        }
        folder = self.folder / "heatmaps" / self.data.set_name / class_folder(class_name) / method
        mark_output(folder)
        write_panels(folder, self.data, kinds, self.setting.heatmaps)

    def _embedding_path(self, class_name: str) -> Path:
        return self.folder / "tsne" / self.data.set_name / f"{class_folder(class_name)}.npz"

    def _draw_embedding(self, encoded: ClassData, path: Path) -> None:
        levels = {}
        for kind in self.kinds:
            _, test = self._features(encoded, kind)
            levels[str(kind)] = test.levels[-1]
        save_embedding(path, embed(levels, encoded.test.masks, self.setting.seed))

    def _try(self, where: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """The result, or None after a failure, which is kept; a full disk is raised."""
        try:
            return work(*args, **kwargs)
        except Exception as error:
            if is_full_disk(error):
                raise
            log.error("%s failed: %s", where, error)
            log.debug("", exc_info=True)
            self.failures.append(Failure(where, error))
            return None
