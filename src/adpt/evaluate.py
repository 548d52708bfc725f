"""Evaluate methods on own and on pretrained features: `python -m adpt.evaluate data=mvtec`."""

import json
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hydra
from omegaconf import DictConfig, OmegaConf

from adpt.cli.command_line import hydras_words
from adpt.cli.entry import check_backbone, command, entry, instantiate_all
from adpt.cli.sweeps import job_number
from adpt.cli.values import names
from adpt.errors import UserError
from adpt.running.interruption import advising
from adpt.running.paths import conf_dir
from adpt.running.work_lock import alone_in_output_dir

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from adpt.backbones import Backbone
    from adpt.data import AnomalyDataModule
    from adpt.evaluation.cells import Cell, MethodSpec, Setting
    from adpt.evaluation.evaluation import Evaluation
    from adpt.evaluation.protocol import Part
    from adpt.evaluation.submission import Submission
    from adpt.weights import ProjectorFile
    from adpt.windows import WindowOptions

log = logging.getLogger(__name__)


@entry
@alone_in_output_dir
def evaluate(config: DictConfig) -> None:
    """Evaluate as the config says; records, tables and heatmaps go to the output folder."""
    from hydra.utils import instantiate

    from adpt.evaluation.failures import raise_failures
    from adpt.evaluation.measuring import make_metrics
    from adpt.evaluation.protocol import parts_of
    from adpt.evaluation.recorded import record_last
    from adpt.evaluation.specs import method_specs, without_labels
    from adpt.page import build_page
    from adpt.results import SHOWN, append_records, print_table, read_records, to_csv
    from adpt.running.devices import choose_device, seed_everything
    from adpt.running.whole_files import advising_on_full_disk, remove_leftovers
    from adpt.tracking import finishing, log_config, log_evaluation, use_projector
    from adpt.weights import find_projector

    seed_everything(config.seed)
    device = choose_device(config.device, job_number())
    folder = Path(config.output_dir)
    remove_leftovers(folder)
    windows = windows_of(config)
    backbone_config = config.backbone
    if windows:
        size = OmegaConf.select(config, "data.image_size")
        backbone_config = OmegaConf.create(windows.backbone(config.backbone, size))
    check_backbone(backbone_config)
    methods = method_specs(config.method, config.unified, windows)
    metrics = make_metrics(OmegaConf.select(config, "metric"))
    # The protocol `paper` chooses a projector for each part.
    plain = config.projector is not None and config.protocol != "paper"
    file = find_projector(config.projector) if plain else None

    if config.train_data is None:
        methods = without_labels(methods)
    data = set_up(config.data)
    training = training_set(config, data)
    parts = parts_of(config, data.set_name, data.classes)
    backbone = instantiate(backbone_config).to(device)
    for name, spec in methods.items():
        if spec.uses_class_token:
            backbone.require_class_token(f"method={name}")
    evaluations = [
        prepare(part, methods, file, data, training, backbone, device, folder) for part in parts
    ]
    due = [due_of(config, one) for one in evaluations]
    asked = {cell.sha256 for one in evaluations for cell in one.cells}
    origin = evaluations[0].origin

    loggers = instantiate_all(config.logger)
    log_config(loggers, config)
    records = folder / "results.jsonl"
    advice = partial(how_to_go_on, folder)
    with advising_on_full_disk(advice), advising(advice), finishing(loggers):
        for one in evaluations:
            use_projector(loggers, one.projector.file if one.projector else None)
        again = record_last(records, asked)
        for one, cells in zip(evaluations, due, strict=True):
            one.render_again([cell for cell in one.cells if cell.sha256 in again])
            for record in one.run(cells):
                append_records(records, [record])

        if records.exists():
            results = read_records(folder)
            to_csv(results, folder / "results.csv")
            further = [name for metric in metrics for name in metric.names]
            print_table(results, metrics=[*SHOWN, *further])
            build_page(results, folder, folder / "report.html", config.title)
            log_evaluation(loggers, [r for r in results if r.cell in asked], folder, origin)
            log.info("Records, tables, heatmaps and report.html lie in %s", folder.absolute())
        raise_failures([failure for one in evaluations for failure in one.failures])


def set_up(config: DictConfig) -> "AnomalyDataModule":
    """A set with its files listed and checked."""
    from hydra.utils import instantiate

    data: AnomalyDataModule = instantiate(config)
    data.prepare_data()
    data.setup("test")
    return data


def training_set(config: DictConfig, data: "AnomalyDataModule") -> "AnomalyDataModule | None":
    """The set that methods are fitted on, where that is another one than is tested.

    Raises:
        UserError: It does not suit that one, or other options.
    """
    from adpt.evaluation.training_set import check_suits, check_train_data
    from adpt.running.progress import StepBar

    if config.train_data is None:
        return None
    check_train_data(config)
    try:
        training = set_up(config.train_data)
    except UserError as error:
        named = "Of train_data, whose options are train_data.* in place of data.*"
        raise type(error)(f"{named}: {error}") from error
    images = len(training.samples) + len(data.samples)
    with StepBar("Comparing", shown=images > 5000) as progress:
        check_suits(training, data, progress)
    return training


def due_of(config: DictConfig, evaluation: "Evaluation") -> "list[Cell]":
    """The cells that are to be run: what is not recorded, or lacks in a submission."""
    from adpt.evaluation.recorded import not_recorded

    cells, submission = evaluation.cells, evaluation.submission
    costs_on = evaluation.origin.get("costs_on")
    due = not_recorded(config, cells, evaluation.data.set_name, costs_on)
    lacking = submission.lacking(cells) if submission else []
    return [cell for cell in cells if cell in due or cell in lacking]


def submission_of(config: DictConfig, data: "AnomalyDataModule") -> "Submission | None":
    """The writer of files that a benchmark's server takes, where they are asked for."""
    from adpt.evaluation.measuring import make_metrics
    from adpt.evaluation.submission import Submission

    if config.submission is None:
        return None
    metrics = make_metrics(OmegaConf.select(config, "metric"))
    return Submission(Path(config.submission), data, metrics)


def windows_of(config: DictConfig) -> "WindowOptions | None":
    """The windows that images are seen through."""
    from adpt.windows import WindowOptions

    return WindowOptions.of(cast(dict[str, Any], OmegaConf.to_container(config.windows)))


def prepare(
    part: "Part",
    methods: "Mapping[str, MethodSpec]",
    file: "ProjectorFile | None",
    data: "AnomalyDataModule",
    training: "AnomalyDataModule | None",
    backbone: "Backbone",
    device: "torch.device",
    folder: Path,
) -> "Evaluation":
    """All that it takes to run a part of the table.

    Args:
        part: Its config, and what the protocol says of it.
        methods: The whole table's.
        file: The projector; where the protocol makes parts, each has its own.
        data: The set as the whole table's config has it, set up.
        training: The set to fit on where it is another one, set up.
        backbone: On `device`.
        device: Where to compute.
        folder: The run's.
    """
    from hydra.utils import instantiate

    from adpt.evaluation import choose_kinds
    from adpt.evaluation.encoding import LoadedProjector
    from adpt.evaluation.evaluation import Evaluation
    from adpt.evaluation.identity import Identity
    from adpt.evaluation.laid_back import Defects
    from adpt.evaluation.measuring import Measuring, make_metrics
    from adpt.evaluation.specs import method_specs
    from adpt.results import computing_on, pretraining_of, provenance
    from adpt.running.progress import StepBar
    from adpt.weights import find_projector, load_matching_projector

    config = part.config
    if part.missing is not None:
        data = set_up(config.data)
        file = find_projector(config.projector) if config.projector is not None else None
    setting = setting_of(config, file, data.set_name)
    if part.missing is not None:
        specs = method_specs(config.method, config.unified, windows_of(config))
        methods = {name: part.unpublished(spec, name) for name, spec in specs.items()}
        lacking = part.lacking(file, setting.lists)
        setting = replace(setting, as_published=not lacking)
        if lacking:
            log.warning(
                "protocol=paper: %s of %s are not as published, for want of: %s",
                ", ".join(methods), data.set_name, ", ".join(lacking),
            )  # fmt: skip
    module = load_matching_projector(file, backbone, device, config.projector_block)
    projector = LoadedProjector(module, file) if module and file else None
    origin = provenance(config) | {"projector_saw_the_images": saw_images(file, data)}
    if config.costs:
        origin["costs_on"] = computing_on(device)
    if file and (pretraining := pretraining_of(file.metadata)):
        origin["projector_pretraining"] = pretraining
    if file and file.source:
        origin["projector_source"] = dict(file.source)
    with StepBar("Identifying", shown=len(data.samples) > 5000) as progress:
        identity = Identity(
            cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)),
            data=data,
            backbone=backbone,
            projector_sha256=projector.fingerprint if projector else None,
            methods=methods,
            setting=setting,
            training=training,
            progress=progress,
        )
    return Evaluation(
        identity=identity,
        kinds=choose_kinds(names(config.features), module, cross_class=training is not None),
        backbone=backbone,
        projector=projector,
        device=device,
        folder=folder,
        cache=instantiate(config.cache) if config.cache else None,
        defects=instantiate(config.defects.draw, geometry=data.geometry),
        measuring=Measuring(
            make_metrics(OmegaConf.select(config, "metric")),
            config.published.dilated_overlap,
            {str(sample.image): sample for sample in data.samples},
            data.geometry if config.metric_resolution == "picture" else None,
            config.intervals,
            Defects(data, config.metric_resolution == "network"),
        ),
        submission=submission_of(config, data),
        costs=config.costs,
        origin=origin,
    )


def setting_of(config: DictConfig, projector: "ProjectorFile | None", set_name: str) -> "Setting":
    """All that the config fixes beside set, backbone and methods."""
    from adpt.data.reference_lists import ReferenceLists
    from adpt.evaluation.cells import PublishedChoices, Setting

    chosen_on_test_data = projector is not None and projector.protocol == "paper"
    return Setting(
        shots=config.shots,
        seed=config.seed,
        few_shot=config.few_shot,
        aligned=config.aligned,
        lists=ReferenceLists(places, set_name)
        if (places := names(config.reference_lists))
        else None,
        published=PublishedChoices(**config.published),
        protocol="paper" if chosen_on_test_data else config.protocol,
        checks=config.checks,
        memory_gb=config.memory_gb,
        refresh=config.defects.refresh,
        heatmaps=config.heatmaps,
        tsne=tuple(names(config.tsne) or ()),
    )


def saw_images(projector: "ProjectorFile | None", data: "AnomalyDataModule") -> bool:
    """True if the projector was trained on images that are evaluated now; warns if so."""
    from adpt.data.sample import folder_key, image_folders

    if projector is None:
        return False
    seen = set(map(folder_key, json.loads(projector.metadata.get("images", "[]"))))
    tested = image_folders([s for s in data.samples if s.split == "test"])
    common = [folder for folder in tested if folder_key(folder) in seen]
    if data.set_name in projector.sets:
        common.append(data.set_name)
    if common:
        log.warning(
            "%s was trained on images that are evaluated here (%s): the pretrained figures say"
            " nothing of products it has not seen",
            projector.name,
            common[0],
        )
    return bool(common)


def how_to_go_on(folder: Path) -> str:
    """How to go on with a table that was stopped."""
    return (
        f"What is recorded is complete. Go on with the same command and hydra.run.dir="
        f"{folder.absolute()} (in a sweep: hydra.sweep.dir)."
    )


@partial(command, words_of=hydras_words)
@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="evaluate")
def main(config: DictConfig) -> None:
    """Evaluate methods on own and on pretrained features."""
    evaluate(config)


if __name__ == "__main__":
    main()
