"""Pretrain the projector: `python -m adpt.train +experiment=clip_l`."""

import logging
from pathlib import Path

import hydra
from omegaconf import DictConfig

from adpt.paths import conf_dir
from adpt.wiring import check_accelerator, check_multirun, entry, instantiate_all, seed_everything

log = logging.getLogger(__name__)


@entry
def train(config: DictConfig) -> None:
    """Pretrain as the config says; projector, checkpoints and logs go to the output folder."""
    check_multirun(config.trainer.strategy)

    from hydra.utils import instantiate

    from adpt.callbacks import SaveProjector, finishing, log_config, require_checkpoint

    seed_everything(config.seed)
    checkpoint = require_checkpoint(config.ckpt_path)

    data = instantiate(config.data)
    data.prepare_data()
    data.setup("fit")  # Faults of the data set show here, before weights are loaded.
    check_accelerator(config.trainer.accelerator)
    backbone = instantiate(config.backbone)
    references = instantiate(config.references)
    model = instantiate(config.model, backbone=backbone, references=references)

    loggers = instantiate_all(config.logger)
    projector = Path(config.output_dir) / "projector.safetensors"
    callbacks = [SaveProjector(projector, config), *instantiate_all(config.callbacks)]
    trainer = instantiate(config.trainer, logger=loggers, callbacks=callbacks)
    log_config(loggers, config)

    with finishing(loggers):
        trainer.fit(model, datamodule=data, ckpt_path=checkpoint)
    if trainer.is_global_zero:
        log.info("The projector lies at %s", projector.absolute())


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")
def main(config: DictConfig) -> None:
    """Pretrain the projector."""
    train(config)


if __name__ == "__main__":
    main()
