"""Evaluate methods on own and on pretrained features: `python -m adpt.evaluate data=mvtec`."""

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
    origin = provenance(config)

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
        protocol="clean",
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
