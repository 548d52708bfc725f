"""Pretrain the projector: `python -m adpt.train +experiment=clip_l`."""

import logging
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from adpt.cli.entry import check_backbone_config, check_multirun, command, entry, instantiate_all
from adpt.running.interruption import advising
from adpt.running.work_lock import alone_in_output_dir

log = logging.getLogger(__name__)


@entry
@alone_in_output_dir
def train(config: DictConfig) -> float | None:
    """Pretrain as the config says; projector, checkpoints and logs go to the output folder.

    Returns:
        The config's `objective`, for a sweeper.
    """
    check_multirun(config.trainer.strategy)

    from lightning.pytorch.callbacks import ProgressBar

    from adpt.pretraining.callbacks import SaveProjector
    from adpt.pretraining.descent import check_learning
    from adpt.pretraining.objective import check_objective, measured
    from adpt.pretraining.start import start_from
    from adpt.pretraining.trainer_precision import with_precision
    from adpt.running.checkpoints import find_checkpoint
    from adpt.running.devices import check_accelerator, seed_everything
    from adpt.running.whole_files import remove_leftovers
    from adpt.tracking import finishing, log_config, log_projector
    from adpt.weights import find_projector

    seed_everything(config.seed)
    check_objective(config)
    check_learning(config)
    folder = Path(config.output_dir)
    remove_leftovers(folder)
    checkpoint = find_checkpoint(config.ckpt_path, folder / "checkpoints")
    start = find_projector(config.projector) if config.projector is not None else None
    check_backbone_config(config.backbone)
    callbacks = instantiate_all(config.callbacks)

    data = instantiate(config.data)
    data.prepare_data()
    data.setup("fit")  # Faults of the data set show here, before weights are loaded.
    check_accelerator(config.trainer.accelerator)
    backbone = instantiate(config.backbone)
    references = instantiate(config.references)
    model = instantiate(config.model, backbone=backbone, references=references)
    start_from(start, model)
    config = with_precision(config, model, data.geometry.image_size, checkpoint)

    loggers = instantiate_all(config.logger)
    projector = folder / "projector.safetensors"
    callbacks = [SaveProjector(projector, config, start), *callbacks]
    # Where no callback shows a bar, Lightning would show one of its own.
    bar = config.trainer.get("enable_progress_bar") is not False
    bar = bar and any(isinstance(one, ProgressBar) for one in callbacks)
    callbacks = [one for one in callbacks if bar or not isinstance(one, ProgressBar)]
    trainer = instantiate(
        config.trainer, logger=loggers, callbacks=callbacks, enable_progress_bar=bar
    )
    log_config(loggers, config)

    with advising(lambda: how_to_resume(folder)), finishing(loggers):
        trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        if trainer.is_global_zero:
            log_projector(loggers, projector, config)
    if trainer.is_global_zero:
        log.info("The projector lies at %s", projector.absolute())
    return measured(trainer.callback_metrics, config.objective)


def how_to_resume(folder: Path) -> str:
    """Advice on how to go on with a run that was stopped."""
    if not (folder / "checkpoints" / "last.ckpt").exists():
        return "There is no checkpoint yet: start the same command again."
    return (
        "Go on with the same command and hydra.run.dir="
        f"{folder.absolute()} ckpt_path=last (in a sweep: hydra.sweep.dir)."
    )


@command("train")
def main(config: DictConfig) -> float | None:
    """Pretrain the projector."""
    return train(config)


if __name__ == "__main__":
    main()
