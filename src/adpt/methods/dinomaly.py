"""Dinomaly: a decoder that is kept from attending too well rebuilds the levels of all classes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adpt.methods.group_reconstruction import GroupReconstruction, Mlp, heads_of

_EASY_SHARE = 0.9
_EASY_WEIGHT = 0.1


class LinearAttention(nn.Module):
    """Attention by scalar products of ELU + 1, without a softmax; linear in the patches."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ask_find_tell = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, P, D) to (B, P, D)."""
        queries, keys, values = (
            heads_of(part, self.heads) for part in self.ask_find_tell(tokens).chunk(3, 2)
        )
        queries, keys = F.elu(queries) + 1, F.elu(keys) + 1
        found = queries @ (keys.mT @ values)
        found = found / (queries @ keys.sum(2)[..., None])
        mixed: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return mixed


class LinearAttentionLayer(nn.Module):
    """Linear attention and an MLP, each after a LayerNorm and with a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(width, eps=1e-8)
        self.attention = LinearAttention(width, heads)
        self.before_mlp = nn.LayerNorm(width, eps=1e-8)
        self.mlp = Mlp(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, P, D) to (B, P, D)."""
        tokens = tokens + self.attention(self.before_attention(tokens))
        rebuilt: Tensor = tokens + self.mlp(self.before_mlp(tokens))
        return rebuilt


class Dinomaly(GroupReconstruction):
    """Rebuild groups of levels from a noisy bottleneck by linear attention.

    Dinomaly (arXiv 2405.14325): one model for all classes of a set. The bottleneck is an MLP with
    dropout; the nine tenths of a batch's patches that are rebuilt best have a tenth of the
    gradient, a share that rises from none over the first thousand steps, or tenth of training.
    What else there is, `GroupReconstruction` says. It is meant for the eight middle levels of a
    DINOv2 with registers at 392 px, 45 epochs being the authors' 10,000 steps on MVTec AD. Theirs
    has class and register tokens beside the patches, which levels do not hold.

    Memory in training for L decoder layers of width D: 4·(12L + 8)·D² weights in bytes, times five
    with gradients and moments, and about 80·B·P·D·L bytes of activations (counted, not measured).

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
        epochs: Times that training goes over all images.
        batch_size: Images in a batch.
        learning_rate: The largest, of StableAdamW.
        hidden_dim: Width of the tokens; None takes the features'.
        num_heads: Heads of every attention; the next fewer that divide the width.
        num_layers: Layers of the decoder.
        num_groups: Groups of levels.
        dropout: Share of its activations that the bottleneck drops in training, below 1; 0.4 on
            Real-IAD.
        drop_last: True leaves an epoch's last batch out where it is not full.
        seed: Decides weights, order and all that is drawn in training.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] = 224,
        epochs: int = 45,
        batch_size: int = 16,
        *,
        learning_rate: float = 2e-3,
        hidden_dim: int | None = None,
        num_heads: int = 12,
        num_layers: int = 8,
        num_groups: int = 2,
        dropout: float = 0.2,
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
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}: it must be from 0 to below 1.")
        self.dropout = dropout

    def build_decoder(self, width: int, heads: int) -> None:
        """Make bottleneck and layers."""
        self.bottleneck = Mlp(width, self.dropout)
        self.decoder = nn.ModuleList(
            LinearAttentionLayer(width, heads) for _ in range(self.num_layers)
        )

    def decode(self, fused: Tensor) -> tuple[list[Tensor], Tensor]:
        """Each layer's output (B, P, D); no further loss."""
        rebuilt, layers = self.bottleneck(fused), []
        for layer in self.decoder:
            rebuilt = layer(rebuilt)
            layers.append(rebuilt)
        return layers, fused.new_zeros(())

    def weigh(self, distances: Tensor, share: float) -> Tensor:
        """A tenth for the patches that are rebuilt best."""
        kept = max(1, int(distances.numel() * (1 - _EASY_SHARE * share)))
        least = distances.flatten().topk(kept).values[-1]
        return torch.where(distances < least, _EASY_WEIGHT, 1.0)
