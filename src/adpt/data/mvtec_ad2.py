"""MVTec AD 2."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from adpt.data.files import folder_in_any_case, images_in
from adpt.data.finding import Finding, no_images
from adpt.data.mvtec import MVTec, downloaded
from adpt.data.sample import UNLABELLED, Sample
from adpt.errors import DataError

Split = Literal["public", "private"]
PRIVATE = {"test_private": "regular", "test_private_mixed": "mixed"}
"""Folders of the private test images, and how the names of their images end."""


class MVTecAD2(MVTec):
    """MVTec AD 2 (Heckler-Kram et al. 2025, arXiv 2503.21622): 8 scenarios under several lightings.

    A name ends with the lighting: `regular`, which is that of all training and validation images,
    `underexposed`, `overexposed`, `shift_1` and so on; in `test_private_mixed` it is `mixed`, for
    nobody tells. Layout and names are as the benchmark's public code has them
    (`mvtec_ad_2_public_offline.py` and `utils.py` of MVTec's `MVTecAD2_public_code_utils`).

    Args:
        root: Folder that holds the scenarios.
        split: The test images: "public", with masks; or "private", the images of both
            `test_private` and `test_private_mixed`, which the benchmark's server alone can label.
        **options: As `AnomalyDataModule`.
    """

    layout: ClassVar[str] = (
        "  <class>/train/good/<number>_regular.png, and validation/good like it\n"
        "  <class>/test_public/<good or bad>/<number>_<lighting>.png\n"
        "  <class>/test_public/ground_truth/bad/<number>_<lighting>_mask.png\n"
        "  <class>/test_private/<number>_regular.png, test_private_mixed/<number>_mixed.png"
    )
    source: ClassVar[str] = downloaded("MVTec AD 2")
    known_classes: ClassVar[tuple[str, ...]] = (
        "can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts",
    )  # fmt: skip
    test_folder: ClassVar[str] = "test_public"
    validation_folder: ClassVar[str] = "validation"
    set_name = "mvtec_ad2"

    def __init__(self, root: str | Path, split: Split = "public", **options: Any) -> None:
        super().__init__(root, **options)
        if split not in get_args(Split):
            raise DataError(f"data.split is one of {', '.join(get_args(Split))}, not '{split}'.")
        self.split: Split = split

    def find_tested(self, class_name: str) -> Iterator[Sample]:
        """The test images, those of the private parts without a label."""
        if self.split == "public":
            yield from super().find_tested(class_name)
            return
        for part, ending in PRIVATE.items():
            folder = folder_in_any_case(self.class_folder(class_name), part)
            images = images_in(folder)
            if not images:
                self.report(no_images(folder, class_name))
            for image in images:
                if not re.fullmatch(rf"\d{{3}}_{ending}\.png", image.name):
                    message = f"is not called like 000_{ending}.png: give it its published name."
                    self.note(Finding("name", image, message, class_name))
                yield Sample(image, 0, class_name, "test", defect=UNLABELLED)

    def masks_folder(self, class_name: str) -> Path:
        """Masks lie among the public test images."""
        test = folder_in_any_case(self.class_folder(class_name), self.test_folder)
        return folder_in_any_case(test, "ground_truth")

    def unread_folders(self) -> Collection[str]:
        """The test images that are not asked for."""
        if self.split == "private":
            return {self.test_folder}
        return {*super().unread_folders(), *PRIVATE}
