"""Options that several commands have."""

from collections.abc import Sequence
from typing import Annotated

from adpt.cli.options.kinds import Positive, Section
from adpt.cli.types import Range


class WindowSection(Section):
    """Overlapping windows that large images are seen through."""

    size: Positive | Sequence[int] | None
    """side of a window in pixels, or [height, width]: images are brought to data.image_size and
    seen through overlapping windows, for small defects; null for whole images"""
    overlap: Annotated[float, Range(least=0, below=1)]
    """share of a window that it has in common with the next one, at least about"""
    aligned: bool
    """true: PatchCore, and methods of one's own, are fitted for each window by itself, for parts
    that always lie in the same place"""


class RegionSection(Section):
    """Which pixels of an anomalous image are taken for a defect region."""

    of_peak: Annotated[float, Range(least=0, below=1)]
    """their scores are above this share of the way from the median pixel of good images to the
    image's highest"""
    smallest: Annotated[float, Range(least=0, below=1)]
    """share of the image that a region takes at least; that of the highest pixel may be smaller"""
