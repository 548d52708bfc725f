"""Downstream: features of a set, kept on disk, and what methods make of them."""

from adpt.evaluation.defect_pool import DefectPool
from adpt.evaluation.feature_cache import FeatureCache
from adpt.evaluation.features import Features, extract
from adpt.evaluation.matching import (
    AlignedReferences,
    FixedReferences,
    References,
    convert_features,
)
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
from adpt.results.record import Kind

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
