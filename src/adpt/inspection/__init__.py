"""Inspecting images of one's own product: `adpt.Inspector`, its model file and what it writes."""

from adpt.inspection.inspector import Inspection, Inspector
from adpt.inspection.pictures import ImageInput, UnreadImage, find_images

__all__ = ["ImageInput", "Inspection", "Inspector", "UnreadImage", "find_images"]
