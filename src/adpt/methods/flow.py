"""Conditional normalizing flow: invertible, with an exact log-determinant."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CLAMP = 1.9
_SUBNET_GAIN = 0.1
_SCALE_GAIN, _SCALE_BETA = 0.1, 0.5


def position_encoding(height: int, width: int, dim: int) -> Tensor:
    """Sine and cosine of the column (first half) and row (second half) at falling frequencies.

    Entry 2k of a half is sin(p·ω), entry 2k + 1 cos(p·ω), with ω = 10000^(−4k/dim) and p counted
    from 0 (CFLOW-AD, arXiv 2107.12571, section 4.2).

    Args:
        height: Rows of patches.
        width: Columns of patches.
        dim: Numbers that describe a position, a multiple of 4.

    Returns:
        (height·width, dim), row by row.

    Raises:
        ValueError: If `dim` is not a positive multiple of 4.
    """
    if dim < 4 or dim % 4:
        raise ValueError(f"dim is {dim}: it must be a positive multiple of 4.")
    frequencies = torch.exp(torch.arange(0, dim // 2, 2) * (-2 * math.log(10_000) / dim))

    def waves(count: int) -> Tensor:
        angles = torch.arange(count)[:, None] * frequencies
        return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)

    columns = waves(width).expand(height, -1, -1)
    rows = waves(height)[:, None].expand(-1, width, -1)
    return torch.cat([columns, rows], -1).flatten(0, 1)


def patches_of(level: Tensor) -> Tensor:
    """(B, C, h, w) as (B·h·w, C), image by image and row by row."""
    return level.flatten(2).mT.flatten(0, 1)


def positions_of(level: Tensor, dim: int) -> Tensor:
    """The position encoding of an image's patches, (h·w, dim), on the level's device."""
    height, width = level.shape[-2:]
    return position_encoding(height, width, dim).to(level.device)


class CouplingBlock(nn.Module):
    """Affine coupling, a global scale and offset, and a fixed rotation.

    Of the C channels the first C − C//2 stay and, with the condition, say how the others change:
    x₂·exp(s) + t, where s = 1.9·tanh(a/10), t = b/10, and a, b come from a subnet of two linear
    layers with a ReLU. Then all channels are scaled (softplus, 1 at the start), shifted (0 at the
    start) and multiplied by a random orthogonal matrix (CFLOW-AD, arXiv 2107.12571, equation 2;
    its code's block is the "all in one" block of FrEIA up to version 0.2, with its soft clamping
    and soft permutation).

    Args:
        channels: C, at least 2.
        condition_channels: Numbers of a condition.
    """

    rotation: Tensor

    def __init__(self, channels: int, condition_channels: int) -> None:
        super().__init__()
        self.changed = channels // 2
        self.kept = channels - self.changed
        inputs = self.kept + condition_channels
        self.subnet = nn.Sequential(
            nn.Linear(inputs, 2 * inputs), nn.ReLU(), nn.Linear(2 * inputs, 2 * self.changed)
        )
        at_one = math.log(math.expm1(_SCALE_BETA / _SCALE_GAIN)) / _SCALE_BETA
        self.raw_scale = nn.Parameter(torch.full((channels,), at_one))
        self.offset = nn.Parameter(torch.zeros(channels))
        self.register_buffer("rotation", _random_orthogonal(channels))

    def forward(
        self, features: Tensor, conditions: Tensor, places: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Map features (N, C), given conditions; arguments as of `ConditionalFlow`.

        Returns:
            (N, C), and the logarithm of |det| of its Jacobian by the features, (N,).
        """
        kept, changed = features.split([self.kept, self.changed], 1)
        raw_log_scale, shift = self._raw(kept, conditions, places).split(self.changed, 1)
        log_scale = _CLAMP * raw_log_scale.tanh()
        scale = _SCALE_GAIN * F.softplus(self.raw_scale, beta=_SCALE_BETA)
        coupled = torch.cat([kept, torch.addcmul(shift, changed, log_scale.exp())], 1)
        mixed = torch.addcmul(self.offset, coupled, scale)
        return mixed @ self.rotation.T, log_scale.sum(1) + scale.log().sum()

    def _raw(self, kept: Tensor, conditions: Tensor, places: Tensor | None) -> Tensor:
        """A tenth of what the subnet says of features that stay, joined with their conditions.

        The first layer's product with the conditions is taken once a condition, not once a feature.
        """
        names = ("0.weight", "0.bias", "2.weight", "2.bias")
        first, first_bias, second, second_bias = map(self.subnet.get_parameter, names)
        of_kept, of_conditions = first.split([self.kept, conditions.shape[1]], 1)
        hidden = F.linear(conditions, of_conditions, first_bias)
        if places is not None:
            hidden = F.embedding(places, hidden)
        hidden = hidden.addmm_(kept, of_kept.T).relu_()
        return F.linear(hidden, _SUBNET_GAIN * second, _SUBNET_GAIN * second_bias)


class ConditionalFlow(nn.Module):
    """Coupling blocks in a row, from features of 2 channels at least to a standard normal."""

    def __init__(self, channels: int, condition_channels: int, num_blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            CouplingBlock(channels, condition_channels) for _ in range(num_blocks)
        )

    def forward(
        self, features: Tensor, conditions: Tensor, places: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Map features to latent vectors.

        Args:
            features: (N, C).
            conditions: (P, condition_channels).
            places: (N,) int64, which of the conditions each feature has; None where the N
                conditions are in the features' order.

        Returns:
            (N, C), and the log-determinants (N,).
        """
        log_determinant = features.new_zeros(features.shape[0])
        for block in self.blocks:
            features, added = block(features, conditions, places)
            log_determinant = log_determinant + added
        return features, log_determinant


def log_likelihood(latent: Tensor, log_determinant: Tensor) -> Tensor:
    """Log-likelihood (N,) of features per channel, log p(x) / C, in nats.

    Of what a flow maps them to, `latent` (N, C), and its log-determinants (N,).
    """
    channels = latent.shape[1]
    normal = -0.5 * (channels * math.log(2 * math.pi) + latent.square().sum(1))
    result: Tensor = (normal + log_determinant) / channels
    return result


def _random_orthogonal(size: int) -> Tensor:
    """A rotation or reflection drawn evenly among all: QR of a Gaussian matrix, signs settled."""
    q, r = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))
    rotation: Tensor = q * r.diagonal().sign()
    return rotation.float()
