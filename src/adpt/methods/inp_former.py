"""INP-Former: patches are rebuilt from a few prototypes that are found in the image itself."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adpt.methods.base import at_least_one
from adpt.methods.group_reconstruction import GroupReconstruction, Mlp, heads_of

_COHERENCE = 0.2
_POWER = 3


class FindPrototypes(nn.Module):
    """Learned queries look into an image's patches: cross-attention and an MLP."""

    def __init__(self, width: int, heads: int, prototypes: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Parameter(torch.randn(prototypes, width))
        self.before_attention = nn.LayerNorm(width, eps=1e-8)
        self.ask = nn.Linear(width, width)
        self.find_tell = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.before_mlp = nn.LayerNorm(width, eps=1e-8)
        self.mlp = Mlp(width)

    def forward(self, patches: Tensor) -> Tensor:
        """Prototypes (B, M, D) of patches (B, P, D)."""
        found = self.queries.expand(patches.shape[0], -1, -1)
        queries = heads_of(self.ask(self.before_attention(found)), self.heads)
        both = self.find_tell(self.before_attention(patches)).chunk(2, 2)
        keys, values = (heads_of(part, self.heads) for part in both)
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        found = found + self.out(mixed.transpose(1, 2).flatten(2))
        prototypes: Tensor = found + self.mlp(self.before_mlp(found))
        return prototypes


class PrototypeLayer(nn.Module):
    """Patches are sums of prototypes, by the positive part of the cosine; no way around it.

    Without a residual connection around the attention, only what the prototypes hold comes out.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = nn.Parameter(torch.ones(heads, 1, 1))
        self.before_attention = nn.LayerNorm(width, eps=1e-8)
        self.ask = nn.Linear(width, width)
        self.find_tell = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.before_mlp = nn.LayerNorm(width, eps=1e-8)
        self.mlp = Mlp(width)

    def forward(self, patches: Tensor, prototypes: Tensor) -> Tensor:
        """(B, P, D), from (B, M, D)."""
        queries = heads_of(self.ask(self.before_attention(patches)), self.heads)
        both = self.find_tell(self.before_attention(prototypes)).chunk(2, 2)
        keys, values = (heads_of(part, self.heads) for part in both)
        similar = F.normalize(queries, dim=-1) @ F.normalize(keys, dim=-1).mT
        mixed = F.relu(similar * self.scale) @ values
        found = self.out(mixed.transpose(1, 2).flatten(2))
        rebuilt: Tensor = found + self.mlp(self.before_mlp(found))
        return rebuilt


class InpFormer(GroupReconstruction):
    """Rebuild groups of levels from prototypes of what is normal, found in the image itself.

    INP-Former (arXiv 2503.02424): one model for all classes of a set. Learned queries gather
    prototypes from the image's patches, and the decoder's layers see patches through these alone.
    A further loss, weighted 0.2, is the mean of 1 − cos of each patch and its nearest prototype.
    A patch's gradient is weighted by the third power of its 1 − cos over the batch's mean. What
    else there is, `GroupReconstruction` says. It is meant for the eight middle levels of a DINOv2
    with registers at 392 px.

    Memory as of Dinomaly.

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
        epochs: Times that training goes over all images.
        batch_size: Images in a batch.
        learning_rate: The largest, of StableAdamW.
        hidden_dim: Width of the tokens; None takes the features'.
        num_heads: Heads of every attention; the next fewer that divide the width.
        num_layers: Layers of the decoder.
        num_groups: Groups of levels.
        num_prototypes: Prototypes an image.
        drop_last: True leaves an epoch's last batch out where it is not full.
        seed: Decides weights and order.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] = 224,
        epochs: int = 200,
        batch_size: int = 16,
        *,
        learning_rate: float = 1e-3,
        hidden_dim: int | None = None,
        num_heads: int = 12,
        num_layers: int = 8,
        num_groups: int = 2,
        num_prototypes: int = 6,
        drop_last: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(
            image_size,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            hidden_dim=hidden_dim,
            num_heads=num_heads,
            num_layers=num_layers,
            num_groups=num_groups,
            drop_last=drop_last,
            seed=seed,
        )
        at_least_one(num_prototypes=num_prototypes)
        self.num_prototypes = num_prototypes

    def build_decoder(self, width: int, heads: int) -> None:
        """Make what finds prototypes, bottleneck and layers."""
        self.find = FindPrototypes(width, heads, self.num_prototypes)
        self.bottleneck = Mlp(width)
        self.decoder = nn.ModuleList(PrototypeLayer(width, heads) for _ in range(self.num_layers))

    def decode(self, fused: Tensor) -> tuple[list[Tensor], Tensor]:
        """Each layer's output (B, P, D), and how far patches lie from their prototypes."""
        prototypes = self.find(fused)
        rebuilt, layers = self.bottleneck(fused), []
        for layer in self.decoder:
            rebuilt = layer(rebuilt, prototypes)
            layers.append(rebuilt)
        # Detached, or a learned map before it would draw all patches to one point.
        similar = F.normalize(fused.detach(), dim=2) @ F.normalize(prototypes, dim=2).mT
        return layers, _COHERENCE * (1 - similar.amax(2)).mean()

    def weigh(self, distances: Tensor, share: float) -> Tensor:
        """Third power of the distances over their mean."""
        weights: Tensor = (distances / distances.mean().clamp_min(1e-12)) ** _POWER
        return weights
