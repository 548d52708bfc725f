"""From the config of `adpt.evaluate` to what runs a table: sets, setting, cells."""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from adpt.backbones import Backbone
from adpt.cli.values import names
from adpt.data import AnomalyDataModule
from adpt.data.reference_lists import ReferenceLists
from adpt.data.sample import folder_key, image_folders
from adpt.errors import UserError
from adpt.evaluation.cells import Cell, MethodSpec, PublishedChoices, Setting
from adpt.evaluation.encoding import LoadedProjector
from adpt.evaluation.evaluation import Evaluation
from adpt.evaluation.feature_kinds import choose_kinds
from adpt.evaluation.identity import Identity
from adpt.evaluation.measuring import Measuring, make_metrics
from adpt.evaluation.picture_maps import Defects
from adpt.evaluation.protocol import Part
from adpt.evaluation.recorded import not_recorded
from adpt.evaluation.specs import method_specs
from adpt.evaluation.submission import Submission
from adpt.evaluation.training_set import check_suits, check_train_data
from adpt.results import computing_on, pretraining_of, provenance
from adpt.running.progress import StepBar
from adpt.weights import ProjectorFile, find_projector, load_matching_projector
from adpt.windows import WindowOptions

log = logging.getLogger(__name__)


def set_up(config: DictConfig) -> AnomalyDataModule:
    """A set with its files listed and checked."""
    data: AnomalyDataModule = instantiate(config)
    data.prepare_data()
    data.setup("test")
    return data


def training_set(config: DictConfig, data: AnomalyDataModule) -> AnomalyDataModule | None:
    """The set that methods are fitted on, where that is another one than is tested.

    Raises:
        UserError: It does not suit that one, or other options.
    """
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


def due_of(config: DictConfig, evaluation: Evaluation) -> list[Cell]:
    """The cells that are to be run: what is not recorded, or lacks in a submission."""
    cells, submission = evaluation.cells, evaluation.submission
    costs_on = evaluation.origin.get("costs_on")
    due = not_recorded(config, cells, evaluation.data.set_name, costs_on)
    lacking = submission.lacking(cells) if submission else []
    return [cell for cell in cells if cell in due or cell in lacking]


def windows_of(config: DictConfig) -> WindowOptions | None:
    """The windows that images are seen through."""
    return WindowOptions.of(cast(dict[str, Any], OmegaConf.to_container(config.windows)))


def prepare(
    part: Part,
    methods: Mapping[str, MethodSpec],
    file: ProjectorFile | None,
    *,
    data: AnomalyDataModule,
    training: AnomalyDataModule | None,
    backbone: Backbone,
    device: torch.device,
    folder: Path,
) -> Evaluation:
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
    metrics, to = make_metrics(OmegaConf.select(config, "metric")), config.submission
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
            metrics,
            config.published.dilated_overlap,
            {str(sample.image): sample for sample in data.samples},
            data.geometry if config.metric_resolution == "picture" else None,
            config.intervals,
            Defects(data, config.metric_resolution == "network"),
        ),
        submission=None if to is None else Submission(Path(to), data, metrics),
        costs=config.costs,
        origin=origin,
    )


def setting_of(config: DictConfig, projector: ProjectorFile | None, set_name: str) -> Setting:
    """All that the config fixes beside set, backbone and methods."""
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


def saw_images(projector: ProjectorFile | None, data: AnomalyDataModule) -> bool:
    """True if the projector was trained on images that are evaluated now; warns if so."""
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
