"""The projector with the module structure and parameter names of the published weights.

Its learnable references are repeated for every image, and mapped, and made keys and values of, as
often as there are images; attention keeps its weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PublishedProjector(nn.Module):
    """Levels `l1_proj`, `l2_proj` and so on."""

    def __init__(self, channels: Sequence[int], num_heads: int, num_references: int) -> None:
        super().__init__()
        for level, width in enumerate(channels, start=1):
            self.add_module(f"l{level}_proj", PublishedLevel(width, num_heads, num_references))

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Project levels (B, C, H, W) to the same shapes."""
        return [own(level) for own, level in zip(self.children(), levels, strict=True)]


class PublishedLevel(nn.Module):
    """One level with its references."""

    def __init__(self, width: int, num_heads: int, num_references: int) -> None:
        super().__init__()
        self.x_ref = nn.Parameter(torch.randn(1, num_references, width))
        self.ref_proj = ReferenceProjection(width)
        self.layers = nn.ModuleList([Layer(width, num_heads)])

    def forward(self, level: Tensor) -> Tensor:
        """Project a level (B, C, H, W)."""
        batch, width, height, breadth = level.shape
        tokens = level.reshape(batch, width, height * breadth).permute(0, 2, 1)
        references = self.ref_proj(self.x_ref.repeat(batch, 1, 1))
        for layer in self.layers:
            tokens = layer(tokens, references)
        return tokens.permute(0, 2, 1).reshape(batch, width, height, breadth)


class ReferenceProjection(nn.Module):
    """The linear map of the references (B, R, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Conv1d(width, width, kernel_size=1)
        nn.init.kaiming_normal_(self.project.weight, nonlinearity="leaky_relu")

    def forward(self, references: Tensor) -> Tensor:
        """Map references."""
        mapped: Tensor = self.project(references.permute(0, 2, 1)).permute(0, 2, 1)
        return mapped


class Layer(nn.Module):
    """Attention taken away, then the MLP added; tokens (B, T, C)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.cross_attn = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.mlp = MLP(width)

    def forward(self, tokens: Tensor, references: Tensor) -> Tensor:
        """Project tokens, each image's with its own copy of the references."""
        attended, _ = self.cross_attn(tokens, references, references)
        hidden = tokens - attended
        projected: Tensor = hidden + self.mlp(hidden)
        return projected


class MLP(nn.Module):
    """Linear, squeeze-excitation, GELU, linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.se = SqueezeExcite(4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens."""
        transformed: Tensor = self.fc2(F.gelu(self.se(self.fc1(tokens))))
        return transformed


class SqueezeExcite(nn.Module):
    """A gate for each image's channels, from their mean over the tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        squeezed = max(8, 8 * int((width / 16 + 4) // 8))
        self.fc1, self.fc2 = nn.Linear(width, squeezed), nn.Linear(squeezed, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Gate tokens."""
        gated = []
        for image in tokens:
            mean = image.mean(0)
            gated.append(image * torch.sigmoid(self.fc2(torch.relu(self.fc1(mean)))))
        return torch.stack(gated)
