"""The two contrastive losses of ADPretrain, on plain tensors."""

from adpt.losses.angle import AngleContrastiveLoss
from adpt.losses.norm import NormContrastiveLoss
from adpt.losses.published_norm import PublishedNormLoss
from adpt.losses.terms import terms_of

__all__ = ["AngleContrastiveLoss", "NormContrastiveLoss", "PublishedNormLoss", "terms_of"]
