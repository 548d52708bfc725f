"""The user's own products, laid out like MVTec AD."""

from typing import ClassVar

from adpt.data.files import folders_by_name, folders_in_any_case
from adpt.data.mvtec import MVTec


class Folder(MVTec):
    """Own images: every folder under `root` with a `train` or `test` folder is a class."""

    layout: ClassVar[str] = (
        "  <class>/train/good/*            normal images of any common format\n"
        "  <class>/test/good/*             normal images to measure on\n"
        "  <class>/test/<defect>/*         defective images\n"
        "  <class>/ground_truth/<defect>/  their masks, <name>_mask.png or <name>.png\n"
        "  Folders within these are read too."
    )
    source: ClassVar[str] = (
        "Put the normal images of each product into <class>/train/good; defective images and"
        " their masks are needed for pretraining and for measuring, not for anything else."
    )
    known_classes: ClassVar[tuple[str, ...]] = ()

    def available_classes(self) -> list[str]:
        """Folders that hold a `train` or a `test` folder."""
        found = folders_by_name(self.root)
        parts = {"train", "test"}
        return [n for n, folder in found.items() if parts & folders_in_any_case(folder).keys()]
