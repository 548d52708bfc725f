"""Anomaly detection methods on feature levels: fit on normal features, score others."""

from adpt.methods.base import Method, Scores
from adpt.methods.feature_norm import FeatureNorm
from adpt.methods.padim import PaDiM
from adpt.methods.patchcore import PatchCore

__all__ = ["FeatureNorm", "Method", "PaDiM", "PatchCore", "Scores"]
