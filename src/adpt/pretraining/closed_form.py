"""Pretraining in closed form: a pass over the images, and one matrix a level; no descent."""

from collections import Counter
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from adpt.backbones.base import Backbone
from adpt.data.sample import Batch
from adpt.errors import UserError
from adpt.pretraining.gathering import count
from adpt.pretraining.module import Pretraining
from adpt.pretraining.patches import patch_labels
from adpt.pretraining.reference_pool import ReferencePool
from adpt.projector import FeatureProjector
from adpt.projector.moments import ResidualMoments, fill
from adpt.residual import residual_features


class ClosedForm(Pretraining):
    """A linear projector that weighs directions by how much louder they are on defects.

    Each level's matrix is `projector.moments.loudness` of the residual features of all
    products, each product in units of its own references' residuals. All products weigh alike,
    whatever the number of their images. An epoch gathers the moments; a further one adds other
    views and references.

    Args:
        backbone: Frozen.
        references: Where reference features come from; it needs a pool.
        power: How much the directions count, see `loudness`; with 0 levels alone are scaled.
        length: Root mean square of projected normal patches on the finest level; on another it is
            less, in proportion to the side of its grid, as coarse patches say less of where a
            defect is. The smaller, the closer PaDiM's covariances are to the multiple of the
            identity that it adds to them.
        shrinkage: See `loudness`.
    """

    def __init__(
        self,
        backbone: Backbone,
        references: ReferencePool,
        power: float = 0.25,
        length: float = 0.3,
        shrinkage: float = 0.1,
    ) -> None:
        projector = partial(
            FeatureProjector, block="linear", start_at_identity=True, scale_by_references=True
        )
        unused: Any = None
        # A loss is asked for, and none is computed.
        super().__init__(
            backbone,
            projector,
            references,
            angle_loss=nn.Identity(),
            norm_loss=None,
            optimizer=unused,
            scheduler=unused,
        )
        self.automatic_optimization = False
        self.power, self.length, self.shrinkage = power, length, shrinkage
        self.moments = ResidualMoments(backbone.channels)
        self.images: dict[tuple[str, bool], float] = {}
        self.figures = 0, {}

    def compute_centres(self, data: Any) -> None:
        """Do nothing: there are no centres."""
        self.centred.fill_(True)

    def on_train_start(self) -> None:
        """Count each product's images, for their weights."""
        super().on_train_start()
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        samples = data.pretraining_samples()
        counted = Counter((s.class_name, bool(s.label)) for s in samples)
        for name, _ in list(counted):
            synthetic = data.defects.share * counted[name, False]
            self.images[name, True] = counted[name, True] + synthetic
            self.images[name, False] = counted[name, False] - synthetic
        # For images with a single reference, which says nothing of its scale.
        one_each = {(s.class_name, s.view): str(s.image) for s in samples}
        scales = self.references.scale_of(list(one_each.values()))
        self.projector.scale.copy_(scales.mean(0))

    @torch.no_grad()
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Add a batch's moments; the epoch's last one makes the projector. There is no loss: 0."""
        references = self.references.draw(batch.path, self.references.draw_shots(batch_idx))
        scale = self.references.scale_of(batch.path)
        moments = ResidualMoments(self.backbone.channels).to(self.device)
        for view in batch.image.unbind(1):
            own = self._levels(view)
            for level, features in enumerate(residual_features(own, references)):
                scaled = features / scale[:, level].reshape(-1, 1, 1, 1)
                self._add_to(moments, batch, level, scaled)
        # All processes hold the same sums at any time: those of one are copied to the others.
        for total, added in zip(self.moments.buffers(), moments.buffers(), strict=True):
            if self.trainer.world_size > 1:
                torch.distributed.all_reduce(added)
            total += added
        self.skipped_images += count(len(batch.skipped), self.device)
        self.log("data/skipped_images", self.skipped_images.float())
        if self.trainer.is_last_batch:
            self._solve([level.shape[-2] * level.shape[-1] for level in own])
        return torch.zeros(())

    def _add_to(self, moments: ResidualMoments, batch: Batch, level: int, residual: Tensor) -> None:
        covered, _ = patch_labels(batch.mask, residual.shape[-2:])
        images = zip(
            batch.class_name,
            batch.mask.flatten(1).any(1).tolist(),
            covered.unflatten(0, (len(batch), -1)),
            residual.flatten(2).mT,
            strict=True,
        )
        for name, anomalous, where, patches in images:
            weight = 1 / max(1, self.images[name, anomalous])
            if anomalous:
                moments.add("anomalous", level, patches[where], weight)
            else:
                moments.add("normal", level, patches, weight)

    def _solve(self, patches: list[int]) -> None:
        """Make the projector of the moments so far; `patches` of an image, one number a level."""
        lengths = [self.length * (number / max(patches)) ** 0.5 for number in patches]
        try:
            fill(self.projector, self.moments, lengths, self.power, self.shrinkage)
        except ValueError as error:
            raise UserError(
                f"No projector can be made of these images: {error}. Add products with larger"
                " defects, or leave levels out with backbone.levels."
            ) from error

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """None at all: nothing is learned by descent."""
        return []
