"""Downstream: features of a set, kept on disk, and what methods make of them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adpt.evaluation.feature_cache import FeatureCache
from adpt.evaluation.features import Features, extract
from adpt.evaluation.matching import (
    AlignedReferences,
    FixedReferences,
    References,
    convert_features,
)
from adpt.residual import Kind

if TYPE_CHECKING:
    from adpt.evaluation.defect_pool import DefectPool
    from adpt.evaluation.run import (
        ClassData,
        Outcome,
        Watch,
        choose_kinds,
        counts_of,
        encode_class,
        features_of,
        run_method,
        run_methods,
    )

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
    "Watch",
    "choose_kinds",
    "convert_features",
    "counts_of",
    "encode_class",
    "extract",
    "features_of",
    "run_method",
    "run_methods",
]


def __getattr__(name: str) -> Any:
    """A name, imported once it is asked for: features and references alone need no data module."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "defect_pool" if name == "DefectPool" else "run"
    return getattr(import_module(f"{__name__}.{home}"), name)
