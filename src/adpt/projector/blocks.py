"""Blocks that project one level's tokens: the published one, and those it is compared with."""

import logging
from collections.abc import Callable
from importlib import import_module
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

log = logging.getLogger(__name__)


class ProjectorBlock(nn.Module):
    """One level's projection of tokens (B, T, C) to tokens of the same shape."""

    needs_references: ClassVar[bool] = False
    """True if `forward` needs the tokens of the images' own references."""

    def start_at_identity(self) -> None:
        """Make the block return its input, while every parameter can still learn."""
        for name, parameter in self.named_parameters():
            if name.startswith(("attention.out_proj.", "mlp.contract.")):
                nn.init.zeros_(parameter)


class LearnableReferenceAttention(ProjectorBlock):
    """The published block: h = x - attention(x to learnable references), then h + MLP(h)."""

    def __init__(self, channels: int, num_heads: int, num_references: int) -> None:
        super().__init__()
        self.references = nn.Parameter(torch.randn(num_references, channels))
        self.reference_map = _reference_map(channels)
        self.attention = _attention(channels, num_heads)
        self.mlp = GatedMLP(channels)

    def forward(self, tokens: Tensor, references: Tensor | None = None) -> Tensor:
        """Project tokens; `references` of the images play no part."""
        # The learnable references do not depend on the image: all images' tokens are the queries
        # of a single attention, so keys and values are computed once for the whole batch.
        key_value = self.reference_map(self.references)[None]
        queries = tokens.reshape(1, -1, tokens.shape[-1])
        attended, _ = self.attention(queries, key_value, key_value, need_weights=False)
        hidden = tokens - attended.view_as(tokens)
        projected: Tensor = hidden + self.mlp(hidden)
        return projected


class CrossAttention(ProjectorBlock):
    """h = x - attention(x to the image's own references), then h + MLP(h).

    As the published block, with tokens of the image's reference images where that one has
    learnable references; they go through the same kind of linear map.
    """

    needs_references: ClassVar[bool] = True

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.reference_map = _reference_map(channels)
        self.attention = _attention(channels, num_heads)
        self.mlp = GatedMLP(channels)

    def forward(self, tokens: Tensor, references: Tensor) -> Tensor:
        """Project tokens with references (R, C) for all images or (B, R, C) for each its own."""
        key_value = self.reference_map(references)
        if references.ndim == 2:
            queries, key_value = tokens.reshape(1, -1, tokens.shape[-1]), key_value[None]
        else:
            queries = tokens
        attended, _ = self.attention(queries, key_value, key_value, need_weights=False)
        hidden = tokens - attended.reshape(tokens.shape)
        projected: Tensor = hidden + self.mlp(hidden)
        return projected


class SelfAttention(ProjectorBlock):
    """h = x - attention(x to the tokens of its own image), then h + MLP(h)."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.attention = _attention(channels, num_heads)
        self.mlp = GatedMLP(channels)

    def forward(self, tokens: Tensor, references: Tensor | None = None) -> Tensor:
        """Project tokens; `references` play no part."""
        attended, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        hidden = tokens - attended
        projected: Tensor = hidden + self.mlp(hidden)
        return projected


class TokenMLP(ProjectorBlock):
    """x + MLP(x), token by token: the MLP is linear, GELU, linear, without the gate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = MLP(channels)

    def forward(self, tokens: Tensor, references: Tensor | None = None) -> Tensor:
        """Project tokens; `references` play no part."""
        projected: Tensor = tokens + self.mlp(tokens)
        return projected


class TokenLinear(ProjectorBlock):
    """One linear map, token by token; a residual connection would add nothing to it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def start_at_identity(self) -> None:
        """Make the map the identity."""
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, tokens: Tensor, references: Tensor | None = None) -> Tensor:
        """Project tokens; `references` play no part."""
        projected: Tensor = self.linear(tokens)
        return projected


class MLP(nn.Module):
    """Linear, GELU, linear, four times as wide between them; (B, T, C) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, 4 * channels)
        self.contract = nn.Linear(4 * channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens, each for itself."""
        output: Tensor = self.contract(F.gelu(self.expand(tokens)))
        return output


class GatedMLP(nn.Module):
    """Linear, squeeze-excitation over the tokens, GELU, linear; (B, T, C) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = 4 * channels
        squeezed = max(8, (hidden // 16 + 4) // 8 * 8)
        self.expand = nn.Linear(channels, hidden)
        self.squeeze = nn.Linear(hidden, squeezed)
        self.excite = nn.Linear(squeezed, hidden)
        self.contract = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens; the gate of an image comes from the mean over its own tokens."""
        hidden = self.expand(tokens)
        gate = self.excite(F.relu(self.squeeze(hidden.mean(dim=1, keepdim=True)))).sigmoid()
        output: Tensor = self.contract(F.gelu(hidden * gate))
        return output


BLOCKS: dict[str, Callable[[int, int, int], ProjectorBlock]] = {
    "attention": LearnableReferenceAttention,
    "cross_attention": lambda channels, num_heads, _: CrossAttention(channels, num_heads),
    "self_attention": lambda channels, num_heads, _: SelfAttention(channels, num_heads),
    "mlp": lambda channels, *_: TokenMLP(channels),
    "linear": lambda channels, *_: TokenLinear(channels),
}
"""By the names of configs and files: makes a block of a width, heads and learnable references."""


def block_of(name: str) -> Callable[[int, int, int], ProjectorBlock]:
    """The block of this name: one of `BLOCKS`, or a class of one's own such as `mine.Bottleneck`.

    Raises:
        ValueError: There is none.
    """
    if name in BLOCKS:
        return BLOCKS[name]
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute) if module else None
    except (ImportError, AttributeError) as error:
        raise ValueError(f"block is {name!r}, which cannot be imported: {error}.") from error
    if not (isinstance(found, type) and issubclass(found, ProjectorBlock)):
        raise ValueError(
            f"block is {name!r}: there are {', '.join(BLOCKS)}, and classes of one's own that"
            " derive from adpt.projector.ProjectorBlock, such as mine.Block."
        )
    return found


def _reference_map(channels: int) -> nn.Linear:
    linear = nn.Linear(channels, channels)
    nn.init.kaiming_normal_(linear.weight, nonlinearity="leaky_relu")
    return linear


def _attention(channels: int, wanted: int) -> nn.MultiheadAttention:
    heads = next(count for count in range(wanted, 0, -1) if channels % count == 0)
    if heads != wanted:
        log.info("A level of width %d uses %d attention heads, not %d", channels, heads, wanted)
    return nn.MultiheadAttention(channels, heads, batch_first=True)
