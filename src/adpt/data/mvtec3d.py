"""MVTec 3D-AD, its colour images only."""

from collections.abc import Collection
from pathlib import Path
from typing import ClassVar

from adpt.data.files import folder_in_any_case
from adpt.data.mvtec import Kind, MVTec, downloaded


class MVTec3D(MVTec):
    """MVTec 3D-AD (Bergmann et al. 2022): 10 classes.

    The scans (`xyz`) and the `validation` split are not used, nor the all-black masks that normal
    test images have.
    """

    layout: ClassVar[str] = (
        "  <class>/train/good/rgb/*.png\n"
        "  <class>/test/<good or defect>/rgb/*.png\n"
        "  <class>/test/<defect>/gt/<name>.png"
    )
    source: ClassVar[str] = downloaded("MVTec 3D-AD")
    known_classes: ClassVar[tuple[str, ...]] = (
        "bagel", "cable_gland", "carrot", "cookie", "dowel", "foam", "peach", "potato", "rope",
        "tire",
    )  # fmt: skip
    image_folder: ClassVar[str] = "rgb"

    def unread_folders(self) -> Collection[str]:
        """Folders of the published set that hold no colour images in use."""
        return {*super().unread_folders(), "validation", "xyz", "gt"}

    def mask_folder(self, class_name: str, kind: Kind) -> Path:
        """Masks lie beside the images' folder."""
        return folder_in_any_case(kind.folder, "gt")
