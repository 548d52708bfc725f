"""Options of `python -m adpt.train`."""

from adpt.cli.options.kinds import Made, Parts, Section, Seed
from adpt.cli.types import Text


class Train(Section):
    """`python -m adpt.train`."""

    backbone: Made
    """frozen network that features come from"""
    data: Made
    """set to pretrain on"""
    references: Made
    """normal images that residuals are taken against"""
    model: Made
    """projector, losses, optimizer and schedule"""
    trainer: Made
    """Lightning's `Trainer`; `strategy` chooses devices and processes"""
    logger: Parts | None
    """where metrics go"""
    callbacks: Parts | None
    """what happens beside the training steps"""
    seed: Seed
    """decides weights, order, views and references"""
    run_name: str
    """names the output folder and the W&B run"""
    data_dir: str
    """the folder that holds the data sets"""
    projector: Text | None
    """start from these weights: a projector file, or a name such as hub:adpretrain/clip_l; null
    starts anew"""
    ckpt_path: Text | None
    """go on from a checkpoint, such as <output_dir>/checkpoints/last.ckpt; last: from the newest in
    output_dir, if there is one"""
    objective: Text | None
    """a figure of callbacks=held_out_check that a search goes by, such as
    held_out/feature_norm/pixel_aupro/pretrained"""
    output_dir: Text
    """where the run's files go"""
