"""The projector with the module structure and parameter names of the published weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PublishedProjector(nn.Module):
    """Levels `l1_proj`, `l2_proj` and so on; keys and values are repeated for every image."""

    def __init__(self, channels: Sequence[int], num_heads: int, num_references: int) -> None:
        super().__init__()
        for level, width in enumerate(channels, start=1):
            self.add_module(f"l{level}_proj", PublishedLevel(width, num_heads, num_references))

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        return [own(level) for own, level in zip(self.children(), levels, strict=True)]


class PublishedLevel(nn.Module):
    def __init__(self, width: int, num_heads: int, num_references: int) -> None:
        super().__init__()
        self.x_ref = nn.Parameter(torch.randn(1, num_references, width))
        self.ref_proj = ReferenceProjection(width)
        self.layers = nn.ModuleList([Layer(width, num_heads)])

    def forward(self, level: Tensor) -> Tensor:
        batch, width, height, breadth = level.shape
        tokens = level.reshape(batch, width, height * breadth).permute(0, 2, 1)
        references = self.ref_proj(self.x_ref.repeat(batch, 1, 1))
        for layer in self.layers:
            tokens = layer(tokens, references)
        return tokens.permute(0, 2, 1).reshape(batch, width, height, breadth)


class ReferenceProjection(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Conv1d(width, width, kernel_size=1)

    def forward(self, references: Tensor) -> Tensor:
        return self.project(references.permute(0, 2, 1)).permute(0, 2, 1)


class Layer(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.cross_attn = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.mlp = MLP(width)

    def forward(self, tokens: Tensor, references: Tensor) -> Tensor:
        images = [
            self.cross_attn(tokens[i : i + 1], references[i : i + 1], references[i : i + 1])[0]
            for i in range(len(tokens))
        ]
        hidden = tokens - torch.cat(images)
        return hidden + self.mlp(hidden)


class MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.se = SqueezeExcite(4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.se(self.fc1(tokens))))


class SqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        squeezed = max(8, 8 * int((width / 16 + 4) // 8))
        self.fc1, self.fc2 = nn.Linear(width, squeezed), nn.Linear(squeezed, width)

    def forward(self, tokens: Tensor) -> Tensor:
        gated = []
        for image in tokens:
            mean = sum(image) / len(image)
            gated.append(image * torch.sigmoid(self.fc2(torch.relu(self.fc1(mean)))))
        return torch.stack(gated)
