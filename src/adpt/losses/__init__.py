"""The two contrastive losses of ADPretrain, on plain tensors."""

from adpt.losses.angle import AngleContrastiveLoss
from adpt.losses.norm import NormContrastiveLoss

__all__ = ["AngleContrastiveLoss", "NormContrastiveLoss"]
