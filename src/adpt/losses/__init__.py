"""The two contrastive losses of ADPretrain, on plain tensors."""

from adpt.losses.angle import AngleContrastiveLoss
from adpt.losses.norm import NormContrastiveLoss
from adpt.losses.published import PublishedNormLoss

__all__ = ["AngleContrastiveLoss", "NormContrastiveLoss", "PublishedNormLoss"]
