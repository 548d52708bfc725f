"""Groups of levels, rebuilt by a decoder and compared by angle, as Dinomaly and INP-Former do."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adpt.methods.base import Scores, above_zero, at_least_one
from adpt.methods.feature_sets import Defects, OptimizerList, Optimizers, Step
from adpt.methods.grids import common_grid, tokens
from adpt.methods.learned import Shape
from adpt.methods.maps import smooth, top_mean, upsample
from adpt.methods.stable_adamw import StableAdamW
from adpt.methods.trained import TrainedMethod, descend

T = TypeVar("T")

_CLIP_NORM = 0.1
_BLUR_RADIUS = 2
_WARM_UP = 100
_RAMP = 1000
_LAST_RATE = 0.1


class GroupReconstruction(TrainedMethod):
    """Score patches by the angle between groups of levels and what a decoder makes of them.

    Levels are brought to one grid. A group is the mean of neighbouring levels, and the decoder
    starts from the mean of all; levels of different widths are concatenated instead. The decoder's
    layers are grouped likewise, the last ones for the first levels (Dinomaly's loose
    reconstruction, arXiv 2405.14325). Tokens are as wide as the features unless `hidden_dim` says
    otherwise, and linear maps lie between where widths differ.

    A group's loss is 1 − cos of all its patches taken as one vector, whose gradient is weighted
    patch by patch. StableAdamW, gradients clipped to a norm of 0.1; the learning rate rises over
    100 steps, or a tenth of all if these are fewer, then falls to a tenth by a cosine. The score of
    a patch is 1 − cos, mean over the groups, upsampled with corners aligned and blurred over 5 × 5
    pixels; an image's is the mean of the largest hundredth of its pixels.

    A subclass makes the modules in `build_decoder` and runs them in `decode`.
    """

    unified: ClassVar[bool] = True

    def __init__(
        self,
        image_size: int | Sequence[int],
        *,
        epochs: int,
        batch_size: int,
        learning_rate: float,
        hidden_dim: int | None,
        num_heads: int,
        num_layers: int,
        num_groups: int,
        drop_last: bool,
        seed: int,
    ) -> None:
        super().__init__(image_size, epochs, batch_size, seed, drop_last)
        at_least_one(hidden_dim=hidden_dim, num_heads=num_heads)
        at_least_one(num_layers=num_layers, num_groups=num_groups)
        above_zero(learning_rate=learning_rate)
        self.learning_rate, self.hidden_dim, self.num_heads = learning_rate, hidden_dim, num_heads
        self.num_layers, self.num_groups = num_layers, num_groups

    # ---- What a subclass says ----------------------------------------------------------------

    @abstractmethod
    def build_decoder(self, width: int, heads: int) -> None:
        """Make the modules between the tokens and the decoder's last layer."""

    @abstractmethod
    def decode(self, fused: Tensor) -> tuple[list[Tensor], Tensor]:
        """Outputs of the decoder's layers, each (B, P, D), and a further loss ().

        Args:
            fused: (B, P, D), the tokens of all levels.
        """

    @abstractmethod
    def weigh(self, distances: Tensor, share: float) -> Tensor:
        """Factors of the patches' gradients.

        Args:
            distances: (B, P), 1 − cos of each patch of a group; without gradient.
            share: How far the first thousand steps, or tenth of training, have gone, 0 to 1.

        Returns:
            (B, P).
        """

    # ---- Features ----------------------------------------------------------------------------

    def build(self, shapes: Sequence[Shape]) -> None:
        """Make the decoder, untrained, for levels of these (C, h, w)."""
        self.grid = common_grid(shapes)
        widths = [channels for channels, _, _ in shapes]
        self.groups = min(self.num_groups, self.num_layers, len(widths))
        fused = _fused_width(widths)
        width = self.hidden_dim or fused
        self.project_in = _between(fused, width)
        self.build_decoder(width, max(n for n in range(1, self.num_heads + 1) if width % n == 0))
        outputs = [_fused_width(some) for some in split(widths, self.groups)]
        self.project_out = nn.ModuleList(_between(width, output) for output in outputs)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.01, a=-0.03, b=0.03)
                nn.init.zeros_(module.bias)

    def reconstruct(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """The groups (B, P, C), what is made of them, and the decoder's further loss ()."""
        several = [tokens(level, self.grid) for level in levels]
        layers, further = self.decode(self.project_in(fuse(several)))
        targets = [fuse(some) for some in split(several, self.groups)]
        decoded = [fuse(some) for some in split(layers[::-1], self.groups)]
        rebuilt = [out(one) for out, one in zip(self.project_out, decoded, strict=True)]
        return targets, rebuilt, further

    # ---- Training ----------------------------------------------------------------------------

    def configure_optimizers(self) -> Optimizers:
        """StableAdamW; its learning rate is set at every step."""
        return [StableAdamW(self.parameters(), self.learning_rate)], []

    def training_step(
        self, levels: list[Tensor], optimizers: OptimizerList, step: Step, defects: Defects | None
    ) -> Tensor:
        """Rebuild a batch's groups; arguments as of `TrainedMethod`."""
        done, total = step.epoch * step.per_epoch + step.batch, self.epochs * step.per_epoch
        for parameters in optimizers[0].param_groups:
            parameters["lr"] = self.learning_rate * warm_cosine(done, total)
        share = min(1.0, done / max(1, min(_RAMP, total // 10)))
        targets, rebuilt, loss = self.reconstruct(levels)
        for target, one in zip(targets, rebuilt, strict=True):
            with torch.no_grad():
                weights = self.weigh(1 - F.cosine_similarity(target, one, dim=2), share)
            one.register_hook(partial(torch.mul, weights[..., None]))
            whole = F.cosine_similarity(target.flatten(1), one.flatten(1))
            loss = loss + (1 - whole).mean() / len(targets)
        return descend(loss, *optimizers, clip_norm=_CLIP_NORM)

    # ---- Scoring -----------------------------------------------------------------------------

    def score(self, levels: list[Tensor]) -> Scores:
        """Maps of 1 − cos, and means of each map's largest hundredth; see `Method`."""
        self.eval()
        with self.scoring(levels) as levels:
            targets, rebuilt, _ = self.reconstruct(levels)
            pairs = zip(targets, rebuilt, strict=True)
            similar = torch.stack([F.cosine_similarity(*pair, dim=2) for pair in pairs])
            distances = (1 - similar.mean(0)).reshape(-1, *self.grid)
            maps = smooth(
                upsample(distances, self.image_size, align_corners=True), radius=_BLUR_RADIUS
            )
            return Scores(maps, top_mean(maps))


class Mlp(nn.Module):
    """Two linear maps with a GELU between, four times as wide inside; dropout around both."""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        hidden = self.dropout(F.gelu(self.first(self.dropout(tokens))))
        dropped: Tensor = self.dropout(self.second(hidden))
        return dropped


def heads_of(tokens: Tensor, heads: int) -> Tensor:
    """(B, P, D) to (B, heads, P, D / heads)."""
    split_up: Tensor = tokens.unflatten(2, (heads, -1)).transpose(1, 2)
    return split_up


def fuse(several: Sequence[Tensor]) -> Tensor:
    """Mean of (B, P, C) of the same width, or all channels of those of different ones."""
    if len({one.shape[2] for one in several}) == 1:
        return torch.stack(list(several)).mean(0)
    return torch.cat(list(several), 2)


def split(several: Sequence[T], groups: int) -> list[Sequence[T]]:
    """Neighbours in groups of about the same size."""
    ends = [len(several) * number // groups for number in range(groups + 1)]
    return [several[start:end] for start, end in pairwise(ends)]


def warm_cosine(done: int, total: int) -> float:
    """Learning rate after so many of all steps, in shares of the largest."""
    warm = min(_WARM_UP, total // 10)
    if done < warm:
        return done / max(1, warm - 1)
    falling = (1 + math.cos(math.pi * (done - warm) / (total - warm))) / 2
    return _LAST_RATE + (1 - _LAST_RATE) * falling


def _fused_width(widths: Sequence[int]) -> int:
    return widths[0] if len(set(widths)) == 1 else sum(widths)


def _between(width: int, other: int) -> nn.Module:
    return nn.Identity() if width == other else nn.Linear(width, other)
