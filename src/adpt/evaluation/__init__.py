"""Downstream: features of a set, kept on disk, and what methods make of them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adpt.evaluation.converting import convert_features
from adpt.evaluation.feature_cache import FeatureCache
from adpt.evaluation.feature_kinds import choose_kinds
from adpt.evaluation.features import Features, extract
from adpt.evaluation.matching import AlignedReferences, FixedReferences, References
from adpt.residual import Kind

if TYPE_CHECKING:
    from adpt.evaluation.class_data import ClassData, counts_of, encode_class, features_of
    from adpt.evaluation.defect_pool import DefectPool
    from adpt.evaluation.epochs import TrainingPlan
    from adpt.evaluation.run import Outcome, run_method, run_methods

__all__ = [
    "AlignedReferences",
    "ClassData",
    "DefectPool",
    "FeatureCache",
    "Features",
    "FixedReferences",
    "Kind",
    "Outcome",
    "References",
    "TrainingPlan",
    "choose_kinds",
    "convert_features",
    "counts_of",
    "encode_class",
    "extract",
    "features_of",
    "run_method",
    "run_methods",
]


_LATER = {
    "ClassData": "class_data",
    "DefectPool": "defect_pool",
    "Outcome": "run",
    "TrainingPlan": "epochs",
    "counts_of": "class_data",
    "encode_class": "class_data",
    "features_of": "class_data",
    "run_method": "run",
    "run_methods": "run",
}


def __getattr__(name: str) -> Any:
    """A name, imported once it is asked for: features and references alone need no data module."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
