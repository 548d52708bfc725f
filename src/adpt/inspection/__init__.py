"""Inspecting images of one's own product: `adpt.Inspector`, its model file and what it writes."""

from adpt.running.blocked_imports import without

with without("wandb"):  # timm would import it for its own training script: 1.4 s.
    from adpt.inspection.inputs import ImageInput, Images, UnreadImage, find_images
    from adpt.inspection.inspection import Inspection
    from adpt.inspection.inspector import Inspector
    from adpt.inspection.regions import Region, RegionRule
    from adpt.inspection.threshold import Threshold, ThresholdPolicy

__all__ = [
    "ImageInput",
    "Images",
    "Inspection",
    "Inspector",
    "Region",
    "RegionRule",
    "Threshold",
    "ThresholdPolicy",
    "UnreadImage",
    "find_images",
]
