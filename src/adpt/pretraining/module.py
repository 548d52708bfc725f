"""Pretraining: the projector learns, on labelled images, what tells anomalous from normal."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn

from adpt.backbones.base import Backbone
from adpt.data.sample import Batch, Sample
from adpt.errors import UserError
from adpt.losses import terms_of
from adpt.pretraining.centres import PatchMeans
from adpt.pretraining.gathering import count, gather
from adpt.pretraining.patches import patch_labels, rows_of, separation
from adpt.pretraining.reference_pool import ReferencePool
from adpt.projector import FeatureProjector
from adpt.residual import residual_features
from adpt.running.progress import StepBar

BACKBONE = "backbone."


class Pretraining(LightningModule):
    """The projector with both contrastive losses, on a backbone's residual features.

    The losses compare all patches of a step with each other, so the features of all processes are
    gathered first: several processes compute the gradient of one on the same global batch.

    Args:
        backbone: Frozen, and then not written to checkpoints, unless `train_backbone`.
        projector: Given the levels' widths, makes the projector.
        references: Where reference features come from.
        angle_loss: Loss of one level on both views, or None to leave it out. It is logged as
            `loss/<term>_<level>`, by its attribute `term` or the name of its class.
        norm_loss: Loss of one level on one view, or None to leave it out; logged likewise.
        optimizer: Given the parameters, makes the optimizer.
        scheduler: Given the optimizer, makes the learning rate schedule, stepped every epoch.
        residual: Project residual features; False projects the backbone's own ones instead, the
            ablation without residuals.
        train_backbone: Train the backbone too. References are encoded with its weights as they are,
            without gradient: those of a pool are up to an epoch old. Centres and scales are those
            of the backbone that training set out with.
        backbone_lr: Learning rate of a backbone that is trained; None for the projector's.
        scale_levels: Divide each level by the mean norm, over normal images, of the features that
            are projected, so that the losses' radii fit backbones with features of any size. The
            factors are kept with the projector. The authors' code does not do this.
        centre_shots: References of each normal image for the centres.
        centre_images: Normal images of each class and view that the centres are computed from;
            None for all, as the authors do.

    Raises:
        UserError: Both losses are left out, or the backbone cannot be trained.
    """

    centred: Tensor
    without_anomalies: Tensor
    skipped_images: Tensor

    def __init__(
        self,
        backbone: Backbone,
        projector: Callable[..., FeatureProjector],
        references: ReferencePool,
        *,
        angle_loss: nn.Module | None,
        norm_loss: nn.Module | None,
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler],
        residual: bool = True,
        train_backbone: bool = False,
        backbone_lr: float | None = None,
        scale_levels: bool = False,
        centre_shots: int = 4,
        centre_images: int | None = None,
    ) -> None:
        super().__init__()
        if angle_loss is None and norm_loss is None:
            raise UserError(
                "model.angle_loss and model.norm_loss are both null: one of them at least must"
                " train the projector."
            )
        self.backbone = backbone
        self.train_backbone, self.backbone_lr = train_backbone, backbone_lr
        if train_backbone:
            self.first_hashes = (backbone.fingerprint, backbone.weights_sha256)
            backbone.unfreeze()
        self.projector = projector(channels=backbone.channels, on_residuals=residual)
        self.uses_references = residual or self.projector.needs_references
        self.references = references
        self.angle_loss, self.norm_loss = angle_loss, norm_loss
        self.terms = terms_of(angle=angle_loss, norm=norm_loss)
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.scale_levels = scale_levels
        self.centre_shots, self.centre_images = centre_shots, centre_images
        self.centres = nn.ParameterList(
            nn.Parameter(torch.zeros(width), requires_grad=False) for width in backbone.channels
        )
        self.register_buffer("centred", torch.tensor(False))
        self.register_buffer("without_anomalies", torch.tensor(0))
        self.register_buffer("skipped_images", torch.tensor(0))

    # ---- Before training ---------------------------------------------------------------------

    def on_fit_start(self) -> None:
        """Set the references up and, unless a checkpoint brought them, compute the centres."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if not data.defects.share and not any(s.label for s in data.pretraining_samples()):
            raise UserError(
                "Pretraining needs labelled defects, and none of the images has one: add"
                " test/<defect> with masks, mix in another set, or set data.synthetic_defects=0.5."
            )
        if self.uses_references:
            self.references.setup(data, self.encode)
        if not self.centred:
            self.compute_centres(data)

    @property
    def resumes_within_epochs(self) -> bool:
        """True if a checkpoint from within an epoch leads to the same result.

        Not where the pool was encoded at the epoch's start by a backbone that has learned since.
        """
        return not self.train_backbone or self.references.pool_size is None

    def on_train_start(self) -> None:
        """Draw the pool of an epoch that is gone on with: it does not start again."""
        self._redraw(self.current_epoch)

    def on_train_epoch_start(self) -> None:
        """Draw the epoch's reference pool."""
        self._redraw(self.current_epoch)

    @torch.no_grad()
    def encode(self, images: Tensor) -> list[Tensor]:
        """Levels of images (B, 3, H, W) uint8, on the device and in the precision of training."""
        with self.trainer.precision_plugin.forward_context():
            levels: list[Tensor] = self.backbone(images.to(self.device))
        if self.train_backbone:
            # Older versions of PyTorch (its issue 112583) would use the weights that autocast has
            # cast here, without gradient, for the rest of the step.
            torch.clear_autocast_cache()
        return levels

    @torch.no_grad()
    def compute_centres(self, data: Any) -> None:
        """Mean of what is projected of normal images, level by level, before any projection."""
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        self._redraw(0)
        samples = self.centre_samples(data)
        means = PatchMeans(self.backbone.channels).to(self.device)
        share = samples[rank::world_size]
        seen = 0
        with StepBar("Centres", shown=rank == 0) as progress:
            for batch in data.loader(share, on_bad_image="skip"):
                seen += len(batch) + len(batch.skipped)
                progress("normal images", seen, len(share))
                if len(batch):
                    means.update(self._before_projection(batch), self._reference_scale(batch))
        centres, norms = means.compute()
        by_references = self.projector.scale_by_references
        if self.scale_levels or by_references:
            self.projector.scale.copy_(norms.clamp(min=1e-6))
        for level, centre in enumerate(self.centres):
            centre.copy_(centres[level])
            if not by_references:
                centre /= self.projector.scale[level]
        self.centred.fill_(True)

    def centre_samples(self, data: Any) -> list[Sample]:
        """Normal images that the centres are computed from."""
        taken: dict[tuple[str, str], int] = {}
        samples = []
        for sample in data.pretraining_samples():
            group = (sample.class_name, sample.view)
            taken[group] = taken.get(group, 0) + (sample.label == 0)
            within = self.centre_images is None or taken[group] <= self.centre_images
            if sample.label == 0 and within:
                samples.append(sample)
        return samples

    def _redraw(self, epoch: int) -> None:
        if self.uses_references:
            self.references.redraw(epoch, self.trainer.global_rank, self.trainer.world_size)

    def _before_projection(self, batch: Batch) -> list[Tensor]:
        levels = self.encode(batch.image)
        if not self.projector.on_residuals:
            return levels
        references = self.references.draw(batch.path, self.centre_shots)
        return self.residuals(levels, references)

    # ---- A step ------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Both losses of a batch, summed over the levels."""
        projected = self._project(batch, batch_idx)
        masks = gather(batch.mask)
        logged = (self.global_step + 1) % self.trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        terms: dict[str, Tensor] = {}
        figures: dict[str, Tensor] = {}
        contrasted = torch.zeros((), dtype=torch.bool, device=masks.device)
        for number, level in enumerate(projected, start=1):
            first, second = (rows_of(gather(view)) for view in level.chunk(2))
            covered, touched = patch_labels(masks, level.shape[-2:])
            contrasted = contrasted | covered.any()
            if self.angle_loss is not None:
                name, centre = f"loss/{self.terms['angle']}_{number}", self.centres[number - 1]
                terms[name] = _scalar(self.angle_loss(first, second, covered, centre), name)
            if self.norm_loss is not None:
                name = f"loss/{self.terms['norm']}_{number}"
                norms = [_scalar(self.norm_loss(view, touched), name) for view in (first, second)]
                terms[name] = torch.stack(norms).sum()
            if logged:
                figures |= separation(first.detach(), touched, self.centres[number - 1], number)
        loss = torch.stack(list(terms.values())).sum()
        self.skipped_images += count(len(batch.skipped), self.device)
        self.without_anomalies += (~contrasted).long()
        self.figures = self.global_step, figures
        self.log_dict({name: term.detach() for name, term in terms.items()})
        self.log("loss/total", loss.detach(), prog_bar=True)
        self.log("data/batches_without_anomalies", self.without_anomalies.float())
        self.log("data/skipped_images", self.skipped_images.float())
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Hand a step's figures to the loggers; `self.log` would repeat former ones where none are.

        Of a step that accumulates gradients these are the last batch's, as with the losses.
        """
        step, figures = self.figures
        if figures and self.global_step > step:
            values = {name: value.item() for name, value in figures.items()}
            for logger in self.loggers:
                logger.log_metrics(values, step)

    def _project(self, batch: Batch, step: int) -> list[Tensor]:
        """Projected levels of a batch, (2B, C, H, W): all first views, then all second ones."""
        references: list[Tensor] = []
        if self.uses_references:
            references = self.references.draw(batch.path, self.references.draw_shots(step))
        levels = self._levels(batch.image.transpose(0, 1).flatten(0, 1))
        if self.projector.on_residuals:
            views = zip(*(level.chunk(2) for level in levels), strict=True)
            matched = [self.residuals(view, references) for view in views]
            levels = [torch.cat(pair) for pair in zip(*matched, strict=True)]
        scale = self._reference_scale(batch)
        projected: list[Tensor] = self.projector(
            levels,
            scale if scale is None else scale.repeat(2, 1),
            [level.repeat(2, 1, 1) for level in references]
            if self.projector.needs_references
            else None,
        )
        return projected

    def residuals(self, levels: Sequence[Tensor], references: Sequence[Tensor]) -> list[Tensor]:
        """Residual features; arguments as of `residual_features`."""
        return residual_features(levels, references)

    def _levels(self, images: Tensor) -> list[Tensor]:
        if len(images):
            levels: list[Tensor] = self.backbone(images)
            return levels
        # All files of this process's share were unreadable; transformers refuse an empty batch.
        return [level[:0] for level in self.backbone(images.new_zeros(1, *images.shape[1:]))]

    def _reference_scale(self, batch: Batch) -> Tensor | None:
        if not self.projector.scale_by_references:
            return None
        return self.references.scale_of(batch.path)

    def configure_optimizers(self) -> Any:
        """The optimizer over what is trained, with its schedule."""
        params: Any = self.projector.parameters()
        if self.train_backbone:
            own_rate = {} if self.backbone_lr is None else {"lr": self.backbone_lr}
            params = [{"params": params}, {"params": self.backbone.parameters(), **own_rate}]
        optimizer = self.make_optimizer(params=params)
        schedule = {
            "scheduler": self.make_scheduler(optimizer=optimizer),
            "name": "optimizer/learning_rate",  # for the logger
        }
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    # ---- Checkpoints -------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave a frozen backbone out of the file."""
        checkpoint["backbone_sha256"] = self._started_from[0]
        if not self.train_backbone:
            checkpoint["state_dict"] = {
                name: value
                for name, value in checkpoint["state_dict"].items()
                if not name.startswith(BACKBONE)
            }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put a frozen backbone in hand back in, so that loading stays strict."""
        if checkpoint.get("backbone_sha256") not in self._started_from:
            raise UserError(
                "The checkpoint was written with another backbone, or other levels, options or"
                f" weights than '{self.backbone.name}' as configured here: resume with the same."
            )
        trained = any(name.startswith(BACKBONE) for name in checkpoint["state_dict"])
        if trained != self.train_backbone:
            raise UserError(
                f"The checkpoint's backbone was {'trained' if trained else 'frozen'}: resume with"
                f" model.train_backbone={str(trained).lower()}."
            )
        own = {BACKBONE + name: value for name, value in self.backbone.state_dict().items()}
        checkpoint["state_dict"] = own | checkpoint["state_dict"]

    @property
    def _started_from(self) -> tuple[str, str]:
        """Fingerprint and weights' hash of the backbone as it was before training.

        Checkpoints note the first; those of before options counted note the second.
        """
        if self.train_backbone:
            return self.first_hashes
        return self.backbone.fingerprint, self.backbone.weights_sha256


def _scalar(loss: Tensor, name: str) -> Tensor:
    if loss.ndim:
        raise UserError(f"{name} is of shape {tuple(loss.shape)}: a loss must be a single number.")
    return loss
