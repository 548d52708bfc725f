"""Contrast over angles: normal and anomalous patches point in different directions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

CHUNK_ELEMENTS = 2**26
"""Similarities held at once, 256 MB in float32; more are computed chunk by chunk."""


class AngleContrastiveLoss(nn.Module):
    """Pull the two views of a patch together, push apart patches of the other label.

    For an anchor i with the same patch in the other view i⁺ and the normalised, centred features
    x̄, the loss is -log(exp(x̄_i·x̄_i⁺/τ) / Σ exp(x̄_i·x̄_k/τ)) over all k of the other label, and
    the mean is taken over the anchors of both views. The positive is not in the denominator, so
    the loss can be negative. Follows the authors' code of ADPretrain (arXiv 2511.05245).

    Args:
        temperature: τ, at least 0.003; below it the sums leave the range of float64.

    Raises:
        ValueError: The temperature is too small.
    """

    term = "angle"

    def __init__(self, temperature: float = 0.15) -> None:
        super().__init__()
        if temperature < 0.003:
            raise ValueError(f"temperature is {temperature}; it must be at least 0.003.")
        self.temperature = temperature

    def forward(
        self, view1: Tensor, view2: Tensor, anomalous: Tensor, centre: Tensor | None = None
    ) -> Tensor:
        """Compute the loss of one level.

        Args:
            view1: (N, C) features of the patches in the first view.
            view2: (N, C) features of the same patches in the second view.
            anomalous: (N,), non-zero for anomalous patches.
            centre: (C,) that angles are measured from; None for the origin.

        Returns:
            () loss in float32; 0, attached to the graph, where only one label is present.
        """
        with torch.autocast(view1.device.type, enabled=False):
            features = torch.cat([view1, view2]).float()
            label = anomalous.bool().repeat(2)
            if label.all() or not label.any():
                return features.sum() * 0
            if centre is not None:
                features = features - centre.float()
            directions = F.normalize(features, dim=-1)
            first, second = directions.chunk(2)
            positive = (first * second).sum(-1).mean() / self.temperature
            to_anomalous, to_normal = self._log_sums(directions[~label], directions[label])
            return torch.cat([to_anomalous, to_normal]).mean().float() - positive

    def _log_sums(self, normal: Tensor, anomalous: Tensor) -> tuple[Tensor, Tensor]:
        # Only normal against anomalous patches meet, so one block of similarities serves both:
        # its rows are the normal anchors' denominators, its columns the anomalous anchors'.
        chunks = normal.split(max(1, CHUNK_ELEMENTS // len(anomalous)))
        if len(chunks) == 1:
            rows, columns = self._sums(normal, anomalous)
        else:
            sums = [checkpoint(self._sums, rows, anomalous, use_reentrant=False) for rows in chunks]
            rows = torch.cat([row for row, _ in sums])
            columns = torch.stack([column for _, column in sums]).sum(0)
        return rows.log() + 1 / self.temperature, columns.log() + 1 / self.temperature

    def _sums(self, normal: Tensor, anomalous: Tensor) -> tuple[Tensor, Tensor]:
        # A cosine is at most 1, so this is a logsumexp whose maximum is known beforehand: one
        # exponential serves rows and columns. The smallest one is exp(-2/τ).
        dtype = torch.float32 if 2 / self.temperature < 80 else torch.float64
        scaled = normal.to(dtype) / self.temperature
        shift = scaled.new_tensor(-1 / self.temperature)
        weight = torch.addmm(shift, scaled, anomalous.to(dtype).T).exp_()
        return weight.sum(1), weight.sum(0)
