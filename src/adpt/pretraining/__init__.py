"""Pretraining: the module, its references, and what happens beside it."""

from adpt.pretraining.module import (
    Pretraining,
    gather,
    patch_labels,
    separation,
)

__all__ = [
    "Pretraining",
    "gather",
    "patch_labels",
    "separation",
]
