"""Evaluate methods on own and on pretrained features: `python -m adpt.evaluate data=mvtec`."""

import json
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hydra
from omegaconf import DictConfig, OmegaConf

from adpt.cli.entry import check_backbone, command, entry, instantiate_all
from adpt.cli.sweeps import job_number
from adpt.cli.values import names
from adpt.errors import UserError
from adpt.running.interruption import advising
from adpt.running.paths import conf_dir

if TYPE_CHECKING:
    from collections.abc import Collection

    from adpt.data import AnomalyDataModule
    from adpt.evaluation.cells import Setting
    from adpt.results import Record
    from adpt.weights import ProjectorFile

log = logging.getLogger(__name__)


@entry
def evaluate(config: DictConfig) -> None:
    """Evaluate as the config says; records, tables and heatmaps go to the output folder."""
    from hydra.utils import instantiate

    from adpt.evaluation import choose_kinds
    from adpt.evaluation.cells import changes
    from adpt.evaluation.specs import method_specs
    from adpt.evaluation.table import Evaluation
    from adpt.page import build_page
    from adpt.results import append_records, print_table, provenance, read_records, to_csv
    from adpt.running.devices import choose_device, seed_everything
    from adpt.running.files import advising_on_full_disk, remove_leftovers
    from adpt.tracking import finishing, log_config, log_evaluation, use_projector
    from adpt.weights import find_projector
    from adpt.weights.matching import load_matching_projector

    seed_everything(config.seed)
    device = choose_device(config.device, job_number())
    folder = Path(config.output_dir)
    remove_leftovers(folder)
    found = find_projector(config.projector) if config.projector is not None else None
    chosen = setting(config, found)
    check_backbone(config.backbone)
    methods = method_specs(config.method)

    data = instantiate(config.data)
    data.prepare_data()
    data.setup("test")
    backbone = instantiate(config.backbone).to(device)
    projector = load_matching_projector(found, backbone, device)
    origin = provenance(config) | {"projector_saw_the_images": saw_images(found, data)}
    if found and found.source:
        origin["projector_source"] = dict(found.source)
    evaluation = Evaluation(
        cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)),
        data,
        backbone,
        projector,
        found.name if found else None,
        found.sha256 if found else None,
        methods,
        choose_kinds(names(config.features), projector),
        chosen,
        folder,
        device,
        instantiate(config.cache) if config.cache else None,
        instantiate(config.defects.draw, geometry=data.geometry),
        origin,
    )
    cells, done = evaluation.cells, recorded(config)
    due = [cell for cell in cells if cell.sha256 not in done]
    if len(due) < len(cells):
        where = "" if Path(config.recorded) == folder else f" in {config.recorded}, not shown here"
        log.info(
            "%d of %d results are recorded already%s", len(cells) - len(due), len(cells), where
        )
    for what, count in changes(due, data.set_name, list(done.values())).items():
        log.info("%d recorded before are computed anew, for this differs: %s", count, what)
    loggers = instantiate_all(config.logger)
    log_config(loggers, config)
    advice = partial(how_to_go_on, folder)
    with advising_on_full_disk(advice), advising(advice), finishing(loggers):
        use_projector(loggers, found)
        asked = {cell.sha256 for cell in cells}
        again = record_last(folder / "results.jsonl", asked)
        evaluation.draw_again([cell for cell in cells if cell.sha256 in again])
        for record in evaluation.run(due):
            append_records(folder / "results.jsonl", [record])

        if (folder / "results.jsonl").exists():
            results = read_records(folder)
            to_csv(results, folder / "results.csv")
            print_table(results)
            build_page(results, folder, folder / "report.html", config.title)
            log_evaluation(loggers, [r for r in results if r.cell in asked], folder, origin)
            log.info("Records, tables, heatmaps and report.html lie in %s", folder.absolute())
        evaluation.raise_failures()


def how_to_go_on(folder: Path) -> str:
    """What to do to go on with a table that was stopped."""
    return (
        f"What is recorded is complete. Go on with the same command and hydra.run.dir="
        f"{folder.absolute()} (in a sweep: hydra.sweep.dir)."
    )


def setting(config: DictConfig, projector: "ProjectorFile | None") -> "Setting":
    """What the config fixes beside set, backbone and methods."""
    from adpt.evaluation.cells import Setting

    chosen_on_test_data = projector is not None and projector.protocol == "paper"
    return Setting(
        shots=config.shots,
        seed=config.seed,
        few_shot=config.few_shot,
        aligned=config.aligned,
        protocol="paper" if chosen_on_test_data else config.protocol,
        checks=config.checks,
        memory_gb=config.memory_gb,
        refresh=config.defects.refresh,
        heatmaps=config.heatmaps,
        tsne=tuple(names(config.tsne) or ()),
    )


def recorded(config: DictConfig) -> "dict[str | None, Record]":
    """The cells recorded in the folder `config.recorded`, by hash; none where that is null.

    Raises:
        UserError: Another folder than the run's own is named, and is not there.
    """
    from adpt.results import read_records

    if config.recorded is None:
        return {}
    folder = Path(config.recorded)
    if not folder.exists():
        if folder != Path(config.output_dir):
            raise UserError(f"recorded={folder} is not there; recorded=null computes all results.")
        return {}
    return {record.cell: record for record in read_records(folder)}


def record_last(path: Path, asked: "Collection[str]") -> "set[str | None]":
    """Append those results of a run again in place of which later ones would be shown.

    Args:
        path: The folder's records.
        asked: Hashes of the run's cells.

    Returns:
        Hashes of the cells that were appended.
    """
    from adpt.results import append_records, latest, read_records

    if not path.exists():
        return set()
    records = read_records(path)
    shown = {record.cell for record in latest(records)}
    hidden = [r for r in records if r.cell in asked and r.cell not in shown]
    if hidden:
        append_records(path, hidden)
    return {record.cell for record in hidden}


def saw_images(projector: "ProjectorFile | None", data: "AnomalyDataModule") -> bool:
    """Whether the projector was trained on images that are evaluated now; warns if so."""
    from adpt.data.sample import image_folders

    if projector is None:
        return False
    seen = json.loads(projector.metadata.get("images", "[]"))
    common = sorted(set(seen) & set(image_folders([s for s in data.samples if s.split == "test"])))
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


@command
@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="evaluate")
def main(config: DictConfig) -> None:
    """Evaluate methods on own and on pretrained features."""
    evaluate(config)


if __name__ == "__main__":
    main()
