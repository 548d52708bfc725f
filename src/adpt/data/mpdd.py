"""MPDD."""

from typing import ClassVar

from adpt.data.mvtec import MVTec


class MPDD(MVTec):
    """Metal Parts Defect Detection (Jezek et al. 2021), in MVTec AD's layout: 6 classes."""

    source: ClassVar[str] = (
        "MPDD is downloaded from github.com/stepanje/MPDD and unpacked; then set data.root to the"
        " folder that holds the classes."
    )
    known_classes: ClassVar[tuple[str, ...]] = (
        "bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes",
    )  # fmt: skip
