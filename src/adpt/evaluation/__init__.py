"""Downstream: features of a set, kept on disk, and what methods make of them."""

from adpt.evaluation.class_data import ClassData, counts_of, encode_class, features_of
from adpt.evaluation.defect_pool import DefectPool
from adpt.evaluation.epochs import TrainingPlan
from adpt.evaluation.feature_cache import FeatureCache
from adpt.evaluation.features import Features, extract
from adpt.evaluation.kinds import Kind, choose_kinds
from adpt.evaluation.matching import (
    AlignedReferences,
    FixedReferences,
    References,
    convert_features,
)
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
