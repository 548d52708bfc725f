"""The projector: attention from residual features to learnable references, level by level."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

log = logging.getLogger(__name__)


class FeatureProjector(nn.Module):
    """Map residual features to features made for telling normal from anomalous.

    Each level has a block of its own; the levels share nothing. Section 3 of ADPretrain
    (arXiv 2511.05245), as the authors' code has it.

    Args:
        channels: One width a level.
        num_heads: Attention heads; a level whose width this does not divide uses the largest
            divisor below it.
        num_references: Learnable references a level.
        start_at_identity: Start with the last linear map of attention and of MLP at zero, so that
            training sets out from the residual features themselves. The authors start at random.
        scale_by_references: Expect with every call the scale of the images' own references, see
            `residual.reference_scale`, so that products of every contrast look alike. Not done by
            the authors.

    Attributes:
        scale: (L,) that levels are divided by where a call gives no other scale; 1 in published
            weights.

    Raises:
        ValueError: `num_heads` or `num_references` is below 1.
    """

    scale: Tensor

    def __init__(
        self,
        channels: Sequence[int],
        num_heads: int = 16,
        num_references: int = 2048,
        start_at_identity: bool = False,
        scale_by_references: bool = False,
    ) -> None:
        super().__init__()
        if num_heads < 1 or num_references < 1:
            raise ValueError(
                f"num_heads is {num_heads} and num_references {num_references}: both must be at"
                " least 1."
            )
        self.channels, self.num_heads = tuple(channels), num_heads
        self.num_references = num_references
        self.scale_by_references = scale_by_references
        self.blocks = nn.ModuleList(
            ProjectorBlock(width, _heads(width, num_heads), num_references) for width in channels
        )
        self.register_buffer("scale", torch.ones(len(self.channels)))
        if start_at_identity:
            for block in self.blocks.children():
                _start_at_identity(block)

    def forward(self, levels: Sequence[Tensor], scale: Tensor | None = None) -> list[Tensor]:
        """Project the residual features of a batch of images.

        Args:
            levels: One (B, C, H, W) tensor a level.
            scale: (L,) or (B, L) to divide the levels by; None for the projector's own.

        Returns:
            Tensors of the same shapes.

        Raises:
            ValueError: The levels' number or widths are not those of the projector.
        """
        widths = tuple(level.shape[1] for level in levels)
        if widths != self.channels:
            raise ValueError(
                f"The projector was made for levels of widths {self.channels}, not {widths}: use"
                " it with the backbone and levels that it was trained with."
            )
        projected = []
        scales = (self.scale if scale is None else scale).unbind(-1)
        for block, level, divisor in zip(self.blocks, levels, scales, strict=True):
            tokens = (level / divisor.reshape(-1, 1, 1, 1)).flatten(2).transpose(1, 2)
            projected.append(block(tokens).transpose(1, 2).unflatten(2, level.shape[2:]))
        return projected


class ProjectorBlock(nn.Module):
    """One level's projection of (B, T, C) tokens: h = r - attention(r), then h + MLP(h)."""

    def __init__(self, channels: int, num_heads: int, num_references: int) -> None:
        super().__init__()
        self.references = nn.Parameter(torch.randn(num_references, channels))
        self.reference_map = nn.Linear(channels, channels)
        nn.init.kaiming_normal_(self.reference_map.weight, nonlinearity="leaky_relu")
        self.attention = nn.MultiheadAttention(channels, num_heads, batch_first=True)
        self.mlp = GatedMLP(channels)

    def forward(self, residuals: Tensor) -> Tensor:
        """Project residual features (B, T, C)."""
        # The references do not depend on the image: all images' tokens are the queries of a
        # single attention, so keys and values are computed once for the whole batch.
        key_value = self.reference_map(self.references)[None]
        queries = residuals.reshape(1, -1, residuals.shape[-1])
        attended, _ = self.attention(queries, key_value, key_value, need_weights=False)
        hidden = residuals - attended.view_as(residuals)
        projected: Tensor = hidden + self.mlp(hidden)
        return projected


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


def _start_at_identity(block: nn.Module) -> None:
    for name, parameter in block.named_parameters():
        if name.startswith(("attention.out_proj.", "mlp.contract.")):
            nn.init.zeros_(parameter)


def _heads(channels: int, wanted: int) -> int:
    heads = next(count for count in range(wanted, 0, -1) if channels % count == 0)
    if heads != wanted:
        log.info("A level of width %d uses %d attention heads, not %d", channels, heads, wanted)
    return heads
