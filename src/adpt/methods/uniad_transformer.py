"""UniAD's transformer: it rebuilds patch features without looking at their neighbourhood."""

import torch
from torch import Tensor, nn


def neighbour_mask(grid: tuple[int, int], size: int) -> Tensor:
    """Which patches a patch must not attend to, (P, P) bool: itself and its neighbours.

    UniAD (arXiv 2206.03687), section 3.2. A neighbourhood is a square of `size` patches, odd; 0
    forbids nothing. On a grid so small that the neighbourhood of some patch would be the whole
    grid, neighbourhoods shrink until every patch has something left to see.
    """
    radius = min((size - 1) // 2, max(grid) // 2 - 1)
    rows, columns = (
        (torch.arange(side)[:, None] - torch.arange(side)).abs() <= radius for side in grid
    )
    patches = grid[0] * grid[1]
    return (rows[:, None, :, None] & columns[None, :, None, :]).reshape(patches, patches)


class MaskedAttention(nn.Module):
    """Attention with its residual connection and LayerNorm after it.

    Training drops a share of the attention weights, and of the output.
    """

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(
            hidden_dim, num_heads, dropout=dropout, batch_first=True
        )
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(hidden_dim)

    def forward(self, tokens: Tensor, source: Tensor, position: Tensor, mask: Tensor) -> Tensor:
        """Add to each token what it finds in the source.

        Args:
            tokens: (B, P, D), they ask.
            source: (B, P, D), is looked into.
            position: (P, D), added to what asks and to the keys, not to the values.
            mask: (P, P) bool, True forbids.
        """
        found, _ = self.attention(
            tokens + position, source + position, source, attn_mask=mask, need_weights=False
        )
        normed: Tensor = self.norm(tokens + self.dropout(found))
        return normed


class FeedForward(nn.Module):
    """Two linear maps with a ReLU between, residual connection, LayerNorm."""

    def __init__(self, hidden_dim: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(hidden_dim, feedforward_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward_dim, hidden_dim),
            nn.Dropout(dropout),
        )
        self.norm = nn.LayerNorm(hidden_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, P, D) to (B, P, D)."""
        normed: Tensor = self.norm(tokens + self.layers(tokens))
        return normed


class EncoderLayer(nn.Module):
    """Neighbour-masked self-attention and a feed-forward net."""

    def __init__(
        self, hidden_dim: int, num_heads: int, feedforward_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.attend = MaskedAttention(hidden_dim, num_heads, dropout)
        self.feed_forward = FeedForward(hidden_dim, feedforward_dim, dropout)

    def forward(self, tokens: Tensor, position: Tensor, mask: Tensor) -> Tensor:
        """(B, P, D) tokens, (P, D), (P, P) to (B, P, D)."""
        encoded: Tensor = self.feed_forward(self.attend(tokens, tokens, position, mask))
        return encoded


class DecoderLayer(nn.Module):
    """Learned queries of its own look into the encoder's output, then into the layer before.

    No token passes through a residual connection here: the layer starts from its queries, so what
    comes out was found by attention (layer-wise query decoder, section 3.1).
    """

    def __init__(
        self, patches: int, hidden_dim: int, num_heads: int, feedforward_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(patches, hidden_dim))
        self.attend_encoded = MaskedAttention(hidden_dim, num_heads, dropout)
        self.attend_previous = MaskedAttention(hidden_dim, num_heads, dropout)
        self.feed_forward = FeedForward(hidden_dim, feedforward_dim, dropout)

    def forward(self, previous: Tensor, encoded: Tensor, position: Tensor, mask: Tensor) -> Tensor:
        """(B, P, D) of the layer before and of the encoder, (P, D), (P, P) to (B, P, D)."""
        tokens = self.queries.expand_as(encoded)
        tokens = self.attend_encoded(tokens, encoded, position, mask)
        tokens = self.attend_previous(tokens, previous, position, mask)
        decoded: Tensor = self.feed_forward(tokens)
        return decoded


class Reconstruction(nn.Module):
    """Rebuild patch features, `channels` wide, from those of other places on a grid.

    Linear maps start Xavier uniform with zero biases, row and column embeddings uniform in [0, 1),
    queries unit normal, as in UniAD's code; but every layer draws its own, where there the copies
    of a layer share the queries and attention weights they start from. Arguments as of `UniAD`.
    """

    mask: Tensor

    def __init__(
        self,
        channels: int,
        grid: tuple[int, int],
        *,
        hidden_dim: int,
        num_heads: int,
        num_layers: int,
        feedforward_dim: int,
        dropout: float,
        neighbour_size: int,
    ) -> None:
        super().__init__()
        height, width = grid
        shape = (hidden_dim, num_heads, feedforward_dim, dropout)
        self.register_buffer("mask", neighbour_mask(grid, neighbour_size), persistent=False)
        self.rows = nn.Parameter(torch.rand(height, 1, hidden_dim // 2))
        self.columns = nn.Parameter(torch.rand(1, width, hidden_dim // 2))
        self.project_in = nn.Linear(channels, hidden_dim)
        self.encoder = nn.ModuleList(EncoderLayer(*shape) for _ in range(num_layers))
        self.decoder = nn.ModuleList(
            DecoderLayer(height * width, *shape) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.project_out = nn.Linear(hidden_dim, channels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Rebuild features (B, P, C), patches row by row."""
        position = self.position()
        encoded = self.project_in(features)
        for layer in self.encoder:
            encoded = layer(encoded, position, self.mask)
        decoded = encoded
        for layer in self.decoder:
            decoded = layer(decoded, encoded, position, self.mask)
        rebuilt: Tensor = self.project_out(self.norm(decoded))
        return rebuilt

    def position(self) -> Tensor:
        """(P, D), the learned embedding of each patch's column and row."""
        height, width = len(self.rows), self.columns.shape[1]
        parts = [self.columns.expand(height, -1, -1), self.rows.expand(-1, width, -1)]
        return torch.cat(parts, -1).flatten(0, 1)
