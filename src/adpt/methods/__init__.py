"""Anomaly detection methods on feature levels: fit on normal features, score others."""

from adpt.methods.base import Method, Scores, try_making
from adpt.methods.cflow import CFlow
from adpt.methods.feature_norm import FeatureNorm
from adpt.methods.glass import Glass
from adpt.methods.padim import PaDiM
from adpt.methods.patchcore import PatchCore
from adpt.methods.per_window import PerWindow
from adpt.methods.uniad import UniAD

__all__ = [
    "CFlow",
    "FeatureNorm",
    "Glass",
    "Method",
    "PaDiM",
    "PatchCore",
    "PerWindow",
    "Scores",
    "UniAD",
    "try_making",
]
