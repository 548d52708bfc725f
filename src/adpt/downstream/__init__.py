"""Downstream: features of a set, kept on disk, and what methods make of them."""

from adpt.downstream.defect_pool import DefectPool
from adpt.downstream.feature_cache import FeatureCache
from adpt.downstream.features import Features, extract
from adpt.downstream.matching import (
    AlignedReferences,
    FixedReferences,
    References,
    convert_features,
)
from adpt.downstream.run import (
    ClassData,
    Kind,
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
