"""The projector: residual features in, features that tell normal from anomalous out."""

from adpt.projector.blocks import ProjectorBlock
from adpt.projector.projector import OPTIONS, FeatureProjector

__all__ = ["OPTIONS", "FeatureProjector", "ProjectorBlock"]
