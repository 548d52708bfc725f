"""Anomaly detection methods on feature levels: fit on normal features, score others."""

from adpt.methods.anomaly_dino import AnomalyDino
from adpt.methods.base import Method, Scores, try_making
from adpt.methods.cflow import CFlow
from adpt.methods.dinomaly import Dinomaly
from adpt.methods.feature_norm import FeatureNorm
from adpt.methods.glass import Glass
from adpt.methods.inp_former import InpFormer
from adpt.methods.padim import PaDiM
from adpt.methods.patchcore import PatchCore
from adpt.methods.per_window import PerWindow
from adpt.methods.resad import ResAD
from adpt.methods.supersimplenet import SuperSimpleNet
from adpt.methods.uniad import UniAD

__all__ = [
    "AnomalyDino",
    "CFlow",
    "Dinomaly",
    "FeatureNorm",
    "Glass",
    "InpFormer",
    "Method",
    "PaDiM",
    "PatchCore",
    "PerWindow",
    "ResAD",
    "Scores",
    "SuperSimpleNet",
    "UniAD",
    "try_making",
]
