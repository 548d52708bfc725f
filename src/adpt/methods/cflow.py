"""CFLOW: the likelihood of a patch at its position, by a conditional normalizing flow a level."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adpt.methods.base import Scores, above_zero, at_least_one
from adpt.methods.feature_sets import Defects, OptimizerList, Optimizers, Step
from adpt.methods.flow import ConditionalFlow, log_likelihood, patches_of, positions_of
from adpt.methods.learned import Shape
from adpt.methods.maps import upsample
from adpt.methods.trained import TrainedMethod, descend
from adpt.nearest import slices

_NUM_BLOCKS = 8
_CONDITION_CHANNELS = 128
_META_EPOCHS, _WARM_UP = 25, 2
_CHUNK_NUMBERS = 2**25


class CFlow(TrainedMethod):
    """Score patches by how unlikely normalizing flows find them, given their positions.

    A flow of 8 coupling blocks a level, conditioned on a position encoding of 128 numbers, learns
    the likelihood p of normal features x with C channels: the loss of a patch is
    −logsigmoid(log p(x)/C). The patches of a batch of images are shuffled level by level and dealt
    into parts of `patches_per_step`, an Adam step each; what is left over waits for another epoch,
    but a batch with fewer is one step (CFLOW-AD, arXiv 2107.12571, and its code; ADPretrain's
    4,096 patches a step instead of the original's 256). Training is seen as 25 meta-epochs
    (8 epochs each of the published 200): the learning rate falls by a cosine from one to the next,
    to a thousandth, after a linear rise from a tenth over the first two.

    A level's score map is exp(log p/C − m) upsampled, where m is the largest value among the
    level's training patches in the last epoch. The original takes m from the test set, so that
    scores depend on what else is scored; ours differ by a factor a level. The level maps are
    averaged and the score is minus the logarithm of that: the original's largest value less the
    value orders pixels and images the same way, but runs out of digits for very unlikely patches.
    With `published_maps` they are the original's: m is the largest value among all images that are
    scored, and the score is the number of levels less the sum of the level maps, in doubles.

    Scoring holds intermediate numbers of at most 128 MB a tensor (or one image's).

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
        epochs: Times that training goes over all images.
        batch_size: Images in a batch.
        patches_per_step: Patches of an optimizer step.
        num_levels: Levels used, counted from the last; all if there are fewer.
        learning_rate: The largest, of Adam.
        published_maps: True makes scores relative to the images scored, as the authors' are.
        drop_last: True leaves an epoch's last batch out where it is not full.
        seed: Decides weights, order and all that is drawn in training.

    Raises:
        ValueError: If a number is not positive.
    """

    max_log_likelihood: Tensor

    def __init__(
        self,
        image_size: int | Sequence[int] = 224,
        epochs: int = 200,
        batch_size: int = 32,
        *,
        patches_per_step: int = 4096,
        num_levels: int = 3,
        learning_rate: float = 2e-4,
        published_maps: bool = False,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(image_size, epochs, batch_size, seed, drop_last)
        at_least_one(patches_per_step=patches_per_step, num_levels=num_levels)
        above_zero(learning_rate=learning_rate)
        self.patches_per_step, self.num_levels = patches_per_step, num_levels
        self.learning_rate, self.looks_at_all = learning_rate, published_maps

    def build(self, shapes: Sequence[Shape]) -> None:
        """Make a flow for each of the last levels."""
        used = shapes[-self.num_levels :]
        self.flows = nn.ModuleList(
            ConditionalFlow(channels, _CONDITION_CHANNELS, _NUM_BLOCKS) for channels, _, _ in used
        )
        self.register_buffer("max_log_likelihood", torch.full((len(used),), -math.inf))

    def configure_optimizers(self) -> Optimizers:
        """Adam; its learning rate is set at every step."""
        return [torch.optim.Adam(self.parameters(), self.learning_rate)], []

    def training_step(
        self, levels: list[Tensor], optimizers: OptimizerList, step: Step, defects: Defects | None
    ) -> Tensor:
        """Learn from the patches of a batch of images; arguments as of `TrainedMethod`."""
        optimizer = optimizers[0]
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * relative_rate(step, self.epochs)
        if step.batch == 0:
            self.max_log_likelihood.fill_(-math.inf)
        losses = []
        for number, level in enumerate(levels[-self.num_levels :]):
            features, positions = patches_of(level), positions_of(level, _CONDITION_CHANNELS)
            steps = max(1, len(features) // self.patches_per_step)
            order = torch.randperm(len(features), device=level.device)
            for chosen in order[: steps * self.patches_per_step].split(self.patches_per_step):
                places = chosen % len(positions)
                latent = self.flows[number](features[chosen], positions, places)
                found = log_likelihood(*latent)
                loss = -F.logsigmoid(found)
                descend(loss.mean(), optimizer)
                losses.append(loss.detach())
                self.max_log_likelihood[number].clamp_(min=found.detach().max())
        return torch.cat(losses).mean()

    def score(self, levels: list[Tensor]) -> Scores:
        """Maps in nats per channel, about 0 or more, and each map's maximum; see `Method`."""
        with self.scoring(levels) as levels:
            likelihoods = [
                # Doubles hold what is unlikely by a factor of e^700.
                upsample(relative.double().exp(), self.image_size, align_corners=True)
                for relative in self._relative_log_likelihoods(levels)
            ]
            if self.looks_at_all:
                unlikely = len(likelihoods) - torch.stack(likelihoods).sum(0)
                return Scores(unlikely, unlikely.amax((1, 2)))
            mean = torch.stack(likelihoods).mean(0)
            maps = -mean.clamp_min(torch.finfo(mean.dtype).tiny).log().float()
            return Scores(maps, maps.amax((1, 2)))

    def look_at(self, batches: Iterable[list[Tensor]]) -> None:
        """Take the largest likelihoods among these images for those of the training images."""
        self.max_log_likelihood.zero_()
        largest = torch.full_like(self.max_log_likelihood, -math.inf)
        for levels in batches:
            with self.scoring(levels) as levels:
                found = [part.amax() for part in self._relative_log_likelihoods(levels)]
                largest = torch.maximum(largest, torch.stack(found))
        self.max_log_likelihood.copy_(largest)

    def _relative_log_likelihoods(self, levels: list[Tensor]) -> list[Tensor]:
        """Log-likelihood per channel of each patch, less the largest in training.

        (B, h, w) for each of the used levels, in nats per channel; about 0 or less.
        """
        maps = []
        for number, level in enumerate(levels[-self.num_levels :]):
            _, channels, height, width = level.shape
            per_image = 2 * (channels + _CONDITION_CHANNELS) * height * width
            positions = positions_of(level, _CONDITION_CHANNELS)
            places = torch.arange(len(positions), device=level.device)
            found = [
                log_likelihood(
                    *self.flows[number](patches_of(images), positions, places.repeat(count))
                )
                for some in slices(level.shape[0], _CHUNK_NUMBERS // per_image)
                for images in [level[some]]
                for count in [images.shape[0]]
            ]
            relative = torch.cat(found) - self.max_log_likelihood[number]
            maps.append(relative.reshape(-1, height, width))
        return maps


def relative_rate(step: Step, epochs: int) -> float:
    """The learning rate at a step of so many epochs, as a share of the largest."""

    def cosine(meta_epoch: int) -> float:
        lowest = 1e-3
        return lowest + (1 - lowest) * (1 + math.cos(math.pi * meta_epoch / _META_EPOCHS)) / 2

    done = (step.epoch + step.batch / step.per_epoch) * _META_EPOCHS / epochs
    if done < _WARM_UP:
        return 0.1 + (cosine(_WARM_UP) - 0.1) * done / _WARM_UP
    return cosine(step.epoch * _META_EPOCHS // epochs)
