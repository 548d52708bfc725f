"""The projector: residual features in, features that tell normal from anomalous out."""

from adpt.projector.projector import FeatureProjector

__all__ = ["FeatureProjector"]
