"""ResAD: what residuals look like on labelled products says which are anomalous on others."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adpt.errors import UserError
from adpt.losses import NormContrastiveLoss
from adpt.methods.base import Scores, above_zero, at_least_one
from adpt.methods.feature_sets import Defects, OptimizerList, Optimizers, Step
from adpt.methods.flow import ConditionalFlow, log_likelihood, patches_of, positions_of
from adpt.methods.learned import Shape
from adpt.methods.maps import smooth, upsample
from adpt.methods.trained import TrainedMethod, descend
from adpt.nearest import largest_products, slices

_CONDITION_CHANNELS = 256
_RADIUS, _MARGIN = 0.4, 0.1
_CODE_WEIGHT = 0.25
_BOUNDARY_SHARE, _BOUNDARY_MOMENTUM, _BOUNDARY_MARGIN = 0.05, 0.9, 0.1
_FOCUS, _SMOOTHING = 2, 1e-5
_WEIGHT_DECAY = 5e-4
_FALLS, _FALL = (0.7, 0.9), 0.1
_CHUNK_NUMBERS = 2**25


class ResAD(TrainedMethod):
    """Score patches by the likelihood of their residuals, learned on labelled images.

    For residual features, and for training on other products than are scored (ResAD, arXiv
    2410.20047, as its authors' code has it, which is that of ResAD++, 2509.23741). Each of the last
    levels goes through four steps of its own:

    - the residual is squared, number by number;
    - while scoring, each image's numbers of a channel keep their order and move towards those of
      the nearest entries of a codebook of normal residuals, by `matching` of the way;
    - a 3 × 3 convolution with batch norm and ReLU holds normal features x in a thin shell of
      A = sqrt(‖x‖ + 1) − 1 (as `NormContrastiveLoss` with a margin of 0.1), and leaves anomalous
      ones where they are (mean squared and cosine distance);
    - a normalizing flow, conditioned on the position, takes normal features to a standard normal
      distribution around 0, anomalous ones to one around 1.

    With log-likelihoods n and a per channel, the flow's loss is −logsigmoid(n) of normal patches,
    −logsigmoid(a) of anomalous ones, a focal loss of softmax(n, a), and softplus of how far normal
    patches stay below a boundary and anomalous ones above 0.1 less. The boundary is a moving
    average of the 5 % quantile of n of normal patches. In the first epochs normal images alone are
    seen, by −logsigmoid(n). The map of a level is the mean of 1 − exp(n − m), m the largest n in
    training, and of the share of a in softmax(n, a); the image score is the map's maximum.

    Where the original differs: it has other references at each step; m is the largest of the
    images that are scored; and levels with fewer patches a batch than `patches_per_step` are not
    trained.

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
        epochs: Times that training goes over all images.
        normal_epochs: The first of them, that leave anomalous images out.
        batch_size: Images in a batch.
        patches_per_step: Patches of a step of the flows.
        num_levels: Levels used, counted from the last; all if there are fewer.
        num_blocks: Coupling blocks of a flow.
        num_codes: Entries of a codebook; 0 for ResAD without any.
        matching: How far features move towards the codebook's, 0 to 1.
        squared: False leaves residuals as they are.
        learning_rate: Of Adam; it falls to a tenth after 70 % and again after 90 % of the epochs.
        drop_last: True leaves an epoch's last batch out where it is not full.
        seed: Decides weights, order and all that is drawn in training.

    Raises:
        ValueError: If an argument is out of its range.
    """

    uses_labels = True
    boundaries: Tensor
    max_log_likelihood: Tensor

    def __init__(
        self,
        image_size: int | Sequence[int] = 224,
        *,
        epochs: int = 100,
        normal_epochs: int = 10,
        batch_size: int = 32,
        patches_per_step: int = 8192,
        num_levels: int = 3,
        num_blocks: int = 10,
        num_codes: int = 1536,
        matching: float = 0.6,
        squared: bool = True,
        learning_rate: float = 1e-5,
        drop_last: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(image_size, epochs, batch_size, seed, drop_last)
        at_least_one(
            patches_per_step=patches_per_step, num_levels=num_levels, num_blocks=num_blocks
        )
        above_zero(learning_rate=learning_rate)
        if min(normal_epochs, num_codes) < 0 or not 0 <= matching <= 1:
            raise ValueError(
                f"normal_epochs is {normal_epochs}, num_codes {num_codes} and matching {matching}:"
                " all must be at least 0, and matching at most 1."
            )
        self.normal_epochs, self.patches_per_step = normal_epochs, patches_per_step
        self.num_levels, self.num_blocks, self.num_codes = num_levels, num_blocks, num_codes
        self.matching, self.squared, self.learning_rate = matching, squared, learning_rate
        self.shell = NormContrastiveLoss(_RADIUS, _MARGIN)

    def build(self, shapes: Sequence[Shape]) -> None:
        """Make codebook, convolution and flow for each of the last levels."""
        widths = [channels for channels, _, _ in shapes[-self.num_levels :]]
        self.codebooks = nn.ParameterList(
            nn.Parameter((2 * torch.rand(self.num_codes, width) - 1) / max(1, self.num_codes))
            for width in widths
        )
        self.constrain = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
            for width in widths
        )
        self.flows = nn.ModuleList(
            ConditionalFlow(width, _CONDITION_CHANNELS, self.num_blocks) for width in widths
        )
        self.register_buffer("boundaries", torch.zeros(len(widths)))
        self.register_buffer("max_log_likelihood", torch.full((len(widths),), -math.inf))

    def configure_optimizers(self) -> Optimizers:
        """Adam for codebooks and convolutions, and another for the flows."""
        parts = [[*self.codebooks.parameters(), *self.constrain.parameters()]]
        parts.append([*self.flows.parameters()])
        made = [torch.optim.Adam(p, self.learning_rate, weight_decay=_WEIGHT_DECAY) for p in parts]
        falls = [max(1, round(share * self.epochs)) for share in _FALLS]
        return [*made], [torch.optim.lr_scheduler.MultiStepLR(one, falls, _FALL) for one in made]

    def training_step(
        self, levels: list[Tensor], optimizers: OptimizerList, step: Step, defects: Defects | None
    ) -> Tensor:
        """Learn from labelled images; arguments as of `TrainedMethod`.

        Raises:
            UserError: There are no labels.
        """
        if defects is None:
            raise UserError(
                "ResAD learns from labelled images of other products: python -m adpt.evaluate"
                " method=resad train_data=<set>."
            )
        masks = defects[1]
        if step.batch == 0:
            self.max_log_likelihood.fill_(-math.inf)
        if step.epoch < self.normal_epochs:
            normal = ~masks.flatten(1).any(1)
            masks, levels = masks[normal], [level[normal] for level in levels]
        if not len(masks):
            return levels[0].new_zeros(())
        features = self._used(levels)
        anomalous = [_of_patches(masks, level) for level in features]
        held = [part(level) for part, level in zip(self.constrain, features, strict=True)]
        losses = [
            self._hold_loss(*of_level)
            for of_level in zip(features, held, anomalous, self.codebooks, strict=True)
        ]
        losses = [descend(torch.stack(losses).sum(), optimizers[0])]
        for number, (level, marked) in enumerate(zip(held, anomalous, strict=True)):
            patches = patches_of(level.detach())
            positions = positions_of(level, _CONDITION_CHANNELS)
            steps = max(1, len(patches) // self.patches_per_step)
            order = torch.randperm(len(patches), device=level.device)
            for chosen in order[: steps * self.patches_per_step].split(self.patches_per_step):
                places = chosen % len(positions)
                found = self.flows[number](patches[chosen], positions, places)
                loss = self._flow_loss(number, *_likelihoods(*found), marked[chosen])
                losses.append(descend(loss, optimizers[1]) / steps)
        return torch.stack(losses).sum()

    def score(self, levels: list[Tensor]) -> Scores:
        """Maps from about 0 for normal to 2 for anomalous at most, and their maxima."""
        self.eval()  # Batch norm must not look at what else is scored.
        with self.scoring(levels) as levels:
            used = self._used(levels)
            numbers = [2 * (len(one[0]) + _CONDITION_CHANNELS) * one[0, 0].numel() for one in used]
            parts = [
                self._maps([level[some] for level in used])
                for some in slices(used[0].shape[0], _CHUNK_NUMBERS // max(numbers))
            ]
            maps = smooth(torch.cat(parts))
            return Scores(maps, maps.amax((1, 2)))

    def _used(self, levels: list[Tensor]) -> list[Tensor]:
        return [level.square() if self.squared else level for level in levels[-self.num_levels :]]

    def _hold_loss(
        self, features: Tensor, held: Tensor, anomalous: Tensor, codes: Tensor
    ) -> Tensor:
        """Loss of a level's codebook and convolution."""
        before, after = patches_of(features), patches_of(held)
        loss: Tensor = self.shell(after, anomalous)
        if anomalous.any():
            targets, kept = before[anomalous], after[anomalous]
            turned = 1 - F.cosine_similarity(kept, targets)
            loss = loss + F.mse_loss(kept, targets) + turned.mean()
        if len(codes) and not anomalous.all():
            normal = before[~anomalous]
            distance = F.mse_loss(codes[_nearest(normal, codes)], normal)
            loss = loss + _CODE_WEIGHT * distance
        return loss

    def _flow_loss(self, number: int, normal: Tensor, anomalous: Tensor, marked: Tensor) -> Tensor:
        """Loss of log-likelihoods (N,) of a level's patches around 0 and around 1."""
        of_normal, of_anomalous = normal[~marked], normal[marked]
        boundary = self.boundaries[number]
        if len(of_normal):
            found = of_normal.detach()
            rank = int(len(found) * _BOUNDARY_SHARE)
            boundary.lerp_(found.kthvalue(rank + 1).values, 1 - _BOUNDARY_MOMENTUM)
            self.max_log_likelihood[number].clamp_(min=found.max())
        loss = _mean(-F.logsigmoid(of_normal))
        if not len(of_anomalous):
            return loss
        too_low = of_normal[of_normal <= boundary]
        too_high = of_anomalous[of_anomalous >= boundary - _BOUNDARY_MARGIN]
        return (
            loss
            + _mean(-F.logsigmoid(anomalous[marked]))
            + smoothed_focal(torch.where(marked, anomalous - normal, normal - anomalous))
            + _mean(F.softplus(boundary - too_low))
            + _mean(F.softplus(too_high - boundary + _BOUNDARY_MARGIN))
        )

    def _maps(self, levels: list[Tensor]) -> Tensor:
        """Maps (B, H, W) before they are smoothed."""
        total = levels[0].new_zeros(len(levels[0]), *self.image_size)
        for number, level in enumerate(levels):
            if self.num_codes:
                level = matched(level, self.codebooks[number], self.matching)
            held = self.constrain[number](level)
            positions = positions_of(held, _CONDITION_CHANNELS)
            places = torch.arange(len(positions), device=held.device).repeat(len(held))
            found = self.flows[number](patches_of(held), positions, places)
            normal, anomalous = _likelihoods(*found)
            unlikely = 1 - (normal - self.max_log_likelihood[number]).clamp(max=0).exp()
            share = (anomalous - normal).sigmoid() / len(levels)
            scores = ((unlikely + share) / 2).reshape(-1, *held.shape[-2:])
            total += upsample(scores, self.image_size, align_corners=True)
        return total


def matched(features: Tensor, codes: Tensor, share: float) -> Tensor:
    """Features (B, C, h, w) moved towards the codebook entries (M, C) nearest to them.

    Channel by channel in order: the k-th largest number of a channel in an image moves by `share`
    of the way to the k-th largest of its entries (exact feature distribution matching).
    """
    patches = patches_of(features)
    entries = codes[_nearest(patches, codes)].reshape(len(features), -1, codes.shape[1]).mT
    ranked, order = features.flatten(2).sort(-1)
    moved = ranked + share * (entries.sort(-1).values - ranked)
    return torch.empty_like(ranked).scatter(-1, order, moved).reshape(features.shape)


def smoothed_focal(right: Tensor) -> Tensor:
    """Mean focal loss () with exponent 2 of logits (N,) of what is right, smoothed by 1e-5."""
    chance = right.sigmoid() * (1 - 2 * _SMOOTHING) + 2 * _SMOOTHING
    return -((1 - chance) ** _FOCUS * chance.log()).mean()


def _likelihoods(latent: Tensor, log_determinant: Tensor) -> tuple[Tensor, Tensor]:
    """Log-likelihoods per channel (N,) around 0 and around 1."""
    return log_likelihood(latent, log_determinant), log_likelihood(latent - 1, log_determinant)


def _of_patches(masks: Tensor, level: Tensor) -> Tensor:
    """The mask at each patch, (B·h·w,) bool, by nearest neighbour."""
    return F.interpolate(masks[:, None].float(), level.shape[-2:], mode="nearest").flatten() > 0


def _nearest(patches: Tensor, codes: Tensor) -> Tensor:
    with torch.no_grad():
        return largest_products(patches, codes, -codes.square().sum(1) / 2)


def _mean(values: Tensor) -> Tensor:
    """The mean; 0 of no values, attached to the graph."""
    return values.sum() / max(1, len(values))
