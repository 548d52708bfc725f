"""Pretraining: the module, its references, and what happens beside it."""

from typing import Any

from adpt.pretraining import reference_pool
from adpt.pretraining.gathering import gather
from adpt.pretraining.module import Pretraining
from adpt.pretraining.patches import patch_labels, separation
from adpt.pretraining.published import PublishedPretraining, PublishedReferences
from adpt.pretraining.reference_pool import ReferencePool

__all__ = [
    "Pretraining",
    "PublishedPretraining",
    "PublishedReferences",
    "ReferencePool",
    "gather",
    "patch_labels",
    "separation",
]


def __getattr__(name: str) -> Any:
    """Find the `_target_` that config files name `adpt.pretraining.references.ReferencePool`."""
    if name == "references":
        return reference_pool
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
