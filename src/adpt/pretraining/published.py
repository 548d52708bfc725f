"""Pretraining as the authors of ADPretrain ran it, `model=published`."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from adpt.data import Sample
from adpt.data.sample import Batch
from adpt.data.sampling import draw_seed
from adpt.errors import UserError
from adpt.pretraining.gathering import count
from adpt.pretraining.module import Pretraining
from adpt.pretraining.reference_pool import ReferencePool

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class PublishedReferences(ReferencePool):
    """As `ReferencePool`, drawn with replacement among the training split's normal images.

    An image may be its own reference. In Real-IAD the training split are the images under OK:
    normal views of defective parts are no references. Args and errors as of `ReferencePool`.
    """

    def may_be_one(self, sample: Sample) -> bool:
        """True for a normal image of the training split."""
        return sample.label == 0 and sample.split == "train"

    def _drawn(
        self, image: int, members: Sequence[int], shots: int, rng: np.random.Generator
    ) -> list[int]:
        drawn: list[int] = []
        while len(drawn) < shots and not self._unreadable.issuperset(members):
            index = members[int(rng.integers(len(members)))]
            drawn += [index] * (index not in self._unreadable)
        return drawn


class PublishedPretraining(Pretraining):
    """As `Pretraining`, in bfloat16 throughout: backbone, projector, gradients, optimizer's state.

    No copy of the weights is kept in float32, so that a step of the learning rate moves only those
    that are small enough for it: of the learnable references, which start at unit normal, a few in
    a hundred. Centres are computed in float32 before.

    What else is the authors': the nearest reference is chosen by similarities in bfloat16; views
    are normalised with CLIP's mean and standard deviation, whatever the backbone expects, and
    references with its own; a step without an anomalous image changes nothing; centres leave out
    what does not fill a batch.

    Args:
        centre_batch_size: Images, in random order, whose last partial batch has no part in the
            centres.
        **options: As `Pretraining`.
    """

    precision: ClassVar[torch.dtype] = torch.bfloat16

    def __init__(self, centre_batch_size: int = 16, **options: Any) -> None:
        super().__init__(**options)
        if self.train_backbone:
            raise UserError("model=published trains no backbone: model.train_backbone=false.")
        self.centre_batch_size = centre_batch_size
        self.projector.to(self.precision)
        self._worth_a_step = False

    def on_fit_start(self) -> None:
        """Compute the centres, then round the backbone.

        Raises:
            UserError: The trainer has a precision of its own.
        """
        if self.trainer.precision != "32-true":
            raise UserError(
                f"trainer.precision={self.trainer.precision}: model=published rounds its weights"
                " itself, and needs trainer.precision=32-true."
            )
        super().on_fit_start()
        backbone = self.backbone
        _ = backbone.fingerprint  # Files know the backbone by its weights as they were.
        mean, std = backbone.mean, backbone.std
        backbone.to(self.precision)
        backbone.mean, backbone.std = mean, std  # Images are normalised in float32.
        if self.uses_references:  # A pool is encoded anew, by the rounded backbone.
            self.references.setup(self.trainer.datamodule, self.encode)  # type: ignore[attr-defined]

    def centre_samples(self, data: Any) -> list[Sample]:
        """Normal images among those of whole batches.

        Raises:
            UserError: There is no whole batch.
        """
        samples = data.pretraining_samples()
        if len(samples) < self.centre_batch_size:
            raise UserError(
                f"model.centre_batch_size={self.centre_batch_size} leaves nothing of"
                f" {len(samples)} images for the centres: make it smaller."
            )
        order = np.random.default_rng(draw_seed(self.references.seed, 3)).permutation(len(samples))
        whole = len(samples) - len(samples) % self.centre_batch_size
        kept = {samples[index].image for index in order[:whole]}
        return [sample for sample in super().centre_samples(data) if sample.image in kept]

    def residuals(self, levels: Sequence[Tensor], references: Sequence[Tensor]) -> list[Tensor]:
        """Residual features, the nearest reference chosen in the features' own precision."""
        return [_residual(level, own) for level, own in zip(levels, references, strict=True)]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """As `Pretraining`; 0 where no image of the batch has a defect."""
        loss = super().training_step(batch, batch_idx)
        anomalous = count(int(batch.label.sum()), self.device) > 0
        self._worth_a_step |= bool(anomalous)
        return loss if anomalous else loss * 0

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Leave weights and state alone after a step without an anomalous image."""
        if not self._worth_a_step:
            optimizer.zero_grad(set_to_none=True)
        self._worth_a_step = False

    def _levels(self, images: Tensor) -> list[Tensor]:
        mean, std = (images.new_tensor(v, dtype=torch.float32).view(3, 1, 1)
                     for v in (_CLIP_MEAN, _CLIP_STD))  # fmt: skip
        own_mean, own_std = self.backbone.mean.view(3, 1, 1), self.backbone.std.view(3, 1, 1)
        # The backbone normalises with its own: what it gets becomes CLIP's by that.
        return super()._levels((images / 255 - mean) / std * own_std + own_mean)


def _residual(level: Tensor, references: Tensor) -> Tensor:
    tokens = level.flatten(2).mT
    index = (F.normalize(tokens, dim=-1) @ F.normalize(references, dim=-1).mT).argmax(-1)
    matched = references.gather(1, index.unsqueeze(-1).expand(-1, -1, level.shape[1]))
    return (tokens - matched).mT.reshape(level.shape)
