"""Projector weights: ours, the published ones, and where they come from."""

from adpt.weights.authors_file import PUBLISHED_NAMES
from adpt.weights.projector_file import (
    FORMAT,
    ProjectorFile,
    find_projector,
    load_matching_projector,
    load_projector,
    projector_metadata,
    save_backbone,
    save_projector,
)

__all__ = [
    "FORMAT",
    "PUBLISHED_NAMES",
    "ProjectorFile",
    "find_projector",
    "load_matching_projector",
    "load_projector",
    "projector_metadata",
    "save_backbone",
    "save_projector",
]
