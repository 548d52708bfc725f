"""UniAD: one transformer for all classes that rebuilds normal features only."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from adpt.methods.base import Scores, above_zero, at_least_one
from adpt.methods.feature_sets import Defects, OptimizerList, Optimizers, Step
from adpt.methods.grids import common_grid, tokens
from adpt.methods.learned import Shape
from adpt.methods.maps import upsample
from adpt.methods.trained import TrainedMethod, descend
from adpt.methods.uniad_transformer import Reconstruction

_MOST_LAYERS = 64
_CLIP_NORM = 0.1
_FULL_RATE = 0.8
"""Share of the epochs before the learning rate falls to a tenth: 800 of 1000."""


class UniAD(TrainedMethod):
    """Score patches by how badly a transformer rebuilds them that knows the normal ones.

    UniAD (arXiv 2206.03687): one model for all classes of a set. All levels are brought to one
    grid and concatenated, jittered, and rebuilt from features of other places: neighbour-masked
    attention in encoder and decoder, where each decoder layer starts from learned queries of its
    own. The loss is the mean squared error to the features without jitter; the score of a patch is
    the length of the difference, upsampled with corners aligned and not smoothed. AdamW, gradients
    clipped to a norm of 0.1, the learning rate falling to a tenth after 80 % of the epochs.

    The defaults are those of ADPretrain's code, which differs from UniAD's in three points: tokens
    are 512 wide with 2048 inside the feed-forward nets (UniAD: 256 and 1024), there is no resizing,
    as its levels are of one size, and the image score is the map's maximum (UniAD: the maximum
    after averaging over 16 × 16 pixels). Levels of different sizes are resized as UniAD's neck
    does, to the grid among them that is nearest to 16 × 16 patches (in the ratio of their areas).
    UniAD draws whether a batch is jittered, with probability 1; here it always is.

    Memory in training with the defaults, four levels of 1024 channels and 256 patches, batch 8:
    3 GB on a CPU (measured), of it 0.5 GB for 34 M weights with their gradients and moments. The
    concatenated features of a batch take 4·B·P·ΣC bytes (34 MB) and live in a handful of copies;
    most of the rest is attention weights, 4·B·heads·P² bytes (17 MB) in each of 12 attentions, a
    few times over. Scoring keeps none of that.

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
        epochs: Times that training goes over all images.
        batch_size: Images in a batch.
        learning_rate: Of AdamW, before it falls.
        hidden_dim: Width of the tokens; even, and divisible by `num_heads`.
        num_heads: Heads of every attention.
        num_layers: Layers of the encoder, and as many of the decoder.
        feedforward_dim: Width inside the feed-forward nets.
        dropout: Share of activations and attention weights that training drops, below 1.
        neighbour_size: Side of the square of patches around each that it must not attend to, odd;
            0 for no mask. On small grids it shrinks (`neighbour_mask`).
        jitter_scale: Noise on the features in training, as of `jitter`; 0 for none.
        drop_last: True leaves an epoch's last batch out where it is not full.
        seed: Decides weights, order and all that is drawn in training.

    Raises:
        ValueError: If an argument is out of its range.
    """

    unified: ClassVar[bool] = True

    def __init__(
        self,
        image_size: int | Sequence[int] = 224,
        epochs: int = 1000,
        batch_size: int = 8,
        *,
        learning_rate: float = 1e-4,
        hidden_dim: int = 512,
        num_heads: int = 8,
        num_layers: int = 4,
        feedforward_dim: int = 2048,
        dropout: float = 0.1,
        neighbour_size: int = 7,
        jitter_scale: float = 20.0,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(image_size, epochs, batch_size, seed, drop_last)
        at_least_one(hidden_dim=hidden_dim, num_heads=num_heads)
        at_least_one(num_layers=num_layers, feedforward_dim=feedforward_dim)
        above_zero(learning_rate=learning_rate)
        if num_layers > _MOST_LAYERS or hidden_dim % 2 or hidden_dim % num_heads:
            raise ValueError(
                f"hidden_dim is {hidden_dim}, num_heads {num_heads} and num_layers {num_layers}:"
                f" hidden_dim must be even and divisible by num_heads, num_layers at most"
                f" {_MOST_LAYERS}."
            )
        if neighbour_size < 0 or (neighbour_size and neighbour_size % 2 == 0):
            raise ValueError(
                f"neighbour_size is {neighbour_size}: give an odd number of patches, or 0 for no "
                "mask."
            )
        if not (0 <= dropout < 1 and jitter_scale >= 0):
            raise ValueError(
                f"dropout is {dropout} and jitter_scale {jitter_scale}: dropout must be from 0 to"
                " below 1, jitter_scale at least 0."
            )
        self.learning_rate = learning_rate
        self.hidden_dim, self.num_heads, self.num_layers = hidden_dim, num_heads, num_layers
        self.feedforward_dim, self.dropout = feedforward_dim, dropout
        self.neighbour_size, self.jitter_scale = neighbour_size, jitter_scale

    def build(self, shapes: Sequence[Shape]) -> None:
        """Make the transformer, untrained, for levels of these (C, h, w)."""
        self.grid = common_grid(shapes)
        self.reconstruction = Reconstruction(
            sum(channels for channels, _, _ in shapes),
            self.grid,
            hidden_dim=self.hidden_dim,
            num_heads=self.num_heads,
            num_layers=self.num_layers,
            feedforward_dim=self.feedforward_dim,
            dropout=self.dropout,
            neighbour_size=self.neighbour_size,
        )

    def configure_optimizers(self) -> Optimizers:
        """AdamW, and a learning rate that falls to a tenth after 80 % of the epochs."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=1e-4)
        fall = max(1, round(_FULL_RATE * self.epochs))
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, fall, 0.1)]

    def training_step(
        self, levels: list[Tensor], optimizers: OptimizerList, step: Step, defects: Defects | None
    ) -> Tensor:
        """Rebuild a batch's features from jittered ones; arguments as of `TrainedMethod`."""
        features = self.gather(levels)
        rebuilt = self.reconstruction(jitter(features, self.jitter_scale))
        return descend(F.mse_loss(rebuilt, features), *optimizers, clip_norm=_CLIP_NORM)

    def score(self, levels: list[Tensor]) -> Scores:
        """Maps of distances, upsampled, and each map's maximum; see `Method`."""
        with self.scoring(levels) as levels:
            features = self.gather(levels)
            difference = self.reconstruction(features) - features
            distances = torch.linalg.vector_norm(difference, dim=2)
            scores = distances.reshape(features.shape[0], *self.grid)
            maps = upsample(scores, self.image_size, align_corners=True)
            return Scores(maps, maps.amax((1, 2)))

    def gather(self, levels: list[Tensor]) -> Tensor:
        """All levels on one grid, concatenated: (B, P, ΣC) float32, the patches row by row."""
        return torch.cat([tokens(level, self.grid) for level in levels], 2)


def jitter(features: Tensor, scale: float) -> Tensor:
    """Add Gaussian noise to features (..., C), of standard deviation scale·‖feature‖/C each."""
    lengths: Tensor = torch.linalg.vector_norm(features, dim=-1, keepdim=True)
    deviation = lengths * scale / features.shape[-1]
    return features + deviation * torch.randn_like(features)
