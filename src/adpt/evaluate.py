"""Evaluate methods on own and on pretrained features: `python -m adpt.evaluate data=mvtec`."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig

from adpt.paths import conf_dir
from adpt.wiring import choose_device, entry, load_matching_projector, seed_everything

if TYPE_CHECKING:
    from adpt.backbones import Backbone
    from adpt.data import AnomalyDataModule
    from adpt.downstream import ClassData, Outcome
    from adpt.results import Record

log = logging.getLogger(__name__)


@entry
def evaluate(config: DictConfig) -> None:
    """Evaluate as the config says; records, tables and heatmaps go to the output folder."""
    from hydra.utils import instantiate

    from adpt.downstream import choose_kinds, encode_class, run_methods
    from adpt.page import build_page
    from adpt.panels import class_folder, write_panels
    from adpt.progress import StepBar
    from adpt.results import append_records, print_table, provenance, to_csv

    seed_everything(config.seed)
    device = choose_device(config.device)
    folder = Path(config.output_dir)

    data = instantiate(config.data)
    data.prepare_data()
    data.setup("test")
    backbone = instantiate(config.backbone).to(device)
    projector = load_matching_projector(config.projector, backbone, device)
    kinds = choose_kinds(config.features, projector)
    methods = instantiate(config.method)
    origin = provenance(config) | {"projector_saw_the_images": saw_images(config.projector, data)}

    results: list[Record] = []
    for class_name in data.classes:
        with StepBar(class_name) as progress:
            encoded = encode_class(
                data, class_name, backbone, config.shots, config.seed, device, progress
            )
            outcomes = run_methods(
                encoded, methods, kinds, projector, data.batch_size, device, progress
            )
        made = [record(config, data, backbone, encoded, outcome, origin) for outcome in outcomes]
        append_records(folder / "results.jsonl", made)
        results += made
        for method in methods:
            maps = {str(o.kind): o.maps for o in outcomes if o.method == method}
            write_panels(
                folder / "heatmaps" / data.set_name / class_folder(class_name) / method,
                data,
                encoded.test,
                maps,
                config.heatmaps,
            )

    to_csv(results, folder / "results.csv")
    print_table(results)
    build_page(results, folder, folder / "report.html", config.title)
    log.info("Records, tables, heatmaps and the page report.html lie in %s", folder.absolute())


def saw_images(projector: str | None, data: "AnomalyDataModule") -> bool:
    """Whether the projector was trained on images that are evaluated now; warns if so."""
    from adpt.data.sample import image_folders
    from adpt.weights import projector_metadata

    seen = json.loads(projector_metadata(projector).get("images", "[]")) if projector else []
    common = sorted(set(seen) & set(image_folders([s for s in data.samples if s.split == "test"])))
    if common:
        log.warning(
            "%s was trained on images that are evaluated here (%s): the pretrained figures say"
            " nothing of products it has not seen",
            projector,
            common[0],
        )
    return bool(common)


def is_own(projector: str) -> bool:
    """Whether a projector file is one of adpt's, not a published one."""
    return Path(projector).suffix == ".safetensors"


def record(
    config: DictConfig,
    data: "AnomalyDataModule",
    backbone: "Backbone",
    encoded: "ClassData",
    outcome: "Outcome",
    origin: dict[str, Any],
) -> "Record":
    """The record of one outcome."""
    from adpt.files import sha256
    from adpt.results import Record

    own = outcome.kind == "own"
    projected = outcome.kind == "pretrained"
    root = str(data.root.absolute())
    paths = (str(Path(path).absolute()) for path in encoded.references.paths)
    return Record(
        dataset=data.set_name,
        class_name=encoded.name,
        method=outcome.method,
        features=outcome.kind,
        backbone=backbone.name,
        metrics=outcome.metrics,
        # The published weights are of the epoch that was best on MVTec AD's test set.
        protocol="paper" if config.projector and not is_own(config.projector) else "clean",
        seed=config.seed,
        shots=None if own else config.shots,
        references=() if own else tuple(path.removeprefix(f"{root}/") for path in paths),
        projector=str(config.projector) if projected else None,
        projector_sha256=sha256(Path(config.projector)) if projected else None,
        backbone_sha256=backbone.fingerprint,
        counts={
            "train": len(encoded.train),
            "test": len(encoded.test),
            "anomalous": int(encoded.test.labels.sum()),
            "skipped": len(encoded.train.skipped) + len(encoded.test.skipped),
        },
        seconds={"features": encoded.seconds, **outcome.seconds},
        provenance=origin,
    )


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="evaluate")
def main(config: DictConfig) -> None:
    """Evaluate methods on own and on pretrained features."""
    evaluate(config)


if __name__ == "__main__":
    main()
