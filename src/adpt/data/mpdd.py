"""MPDD."""

from typing import ClassVar

from adpt.data.mvtec import MVTec, downloaded


class MPDD(MVTec):
    """Metal Parts Defect Detection (Jezek et al. 2021), in MVTec AD's layout: 6 classes."""

    source: ClassVar[str] = downloaded("MPDD", "github.com/stepanje/MPDD")
    known_classes: ClassVar[tuple[str, ...]] = (
        "bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes",
    )  # fmt: skip
