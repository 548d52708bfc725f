"""Evaluate methods on own and on pretrained features: `python -m adpt.evaluate data=mvtec`."""

import logging
from functools import partial
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from adpt.cli.command_line import hydras_words
from adpt.cli.entry import check_backbone_config, command, entry, instantiate_all
from adpt.cli.sweeps import job_number
from adpt.running.interruption import advising
from adpt.running.work_lock import alone_in_output_dir

log = logging.getLogger(__name__)


@entry
@alone_in_output_dir
def evaluate(config: DictConfig) -> None:
    """Evaluate as the config says; records, tables and heatmaps go to the output folder."""
    from adpt.evaluation.failures import raise_failures
    from adpt.evaluation.measuring import make_metrics
    from adpt.evaluation.preparing import due_of, prepare, set_up, training_set, windows_of
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
    check_backbone_config(backbone_config)
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
        prepare(
            part,
            methods,
            file,
            data=data,
            training=training,
            backbone=backbone,
            device=device,
            folder=folder,
        )
        for part in parts
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


def how_to_go_on(folder: Path) -> str:
    """How to go on with a table that was stopped."""
    return (
        f"What is recorded is complete. Go on with the same command and hydra.run.dir="
        f"{folder.absolute()} (in a sweep: hydra.sweep.dir)."
    )


@command("evaluate", words_of=hydras_words)
def main(config: DictConfig) -> None:
    """Evaluate methods on own and on pretrained features."""
    evaluate(config)


if __name__ == "__main__":
    main()
