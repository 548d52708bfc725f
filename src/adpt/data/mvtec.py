"""MVTec AD, and every other set in its layout."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from adpt.data.base import AnomalyDataModule
from adpt.data.files import images_in, subfolders
from adpt.data.sample import Sample


class MVTec(AnomalyDataModule):
    """MVTec AD (Bergmann et al. 2019): 15 classes."""

    layout: ClassVar[str] = (
        "  <class>/train/good/*.png\n"
        "  <class>/test/<good or defect>/*.png\n"
        "  <class>/ground_truth/<defect>/<name>_mask.png"
    )
    source: ClassVar[str] = (
        "MVTec AD is downloaded from mvtec.com (after agreeing to its licence) and unpacked;"
        " then set data.root to the folder that holds the classes."
    )
    known_classes: ClassVar[tuple[str, ...]] = (
        "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut",
        "pill", "screw", "tile", "toothbrush", "transistor", "wood", "zipper",
    )  # fmt: skip
    normal: ClassVar[str] = "good"
    """What the folder of normal images is called."""
    image_folder: ClassVar[str] = ""
    """Folder that holds the images inside each kind's folder; "" where they lie in it directly."""

    def available_classes(self) -> list[str]:
        """The published classes that have a folder."""
        return [f.name for f in subfolders(self.root) if f.name in self.known_classes]

    def find_samples(self, class_name: str) -> Iterator[Sample]:
        """Normal training images, then the test folder with its masks."""
        folder = self.root / class_name
        for image in images_in(folder / "train" / self.normal / self.image_folder):
            yield Sample(image, 0, class_name, "train")
        for kind in subfolders(folder / "test"):
            masks = {} if kind.name == self.normal else self.masks_of(kind)
            for image in images_in(kind / self.image_folder):
                if kind.name == self.normal:
                    yield Sample(image, 0, class_name, "test")
                else:
                    mask = masks.get(image.stem)
                    yield Sample(image, 1, class_name, "test", mask=mask, defect=kind.name)

    def masks_of(self, defect: Path) -> dict[str, Path]:
        """The masks of a test folder's images by the images' stems; none where none are read."""
        return {} if self.masks == "none" else by_image(self.mask_folder(defect))

    def mask_folder(self, defect: Path) -> Path:
        """Where the masks of a test folder's images lie."""
        return defect.parent.parent / "ground_truth" / defect.name


def by_image(folder: Path) -> dict[str, Path]:
    """Masks by the stem of the image they belong to: `<stem>_mask.*` goes before `<stem>.*`."""
    masks = {mask.stem: mask for mask in images_in(folder)}
    marked = {stem: mask for stem, mask in masks.items() if stem.endswith("_mask")}
    return masks | {stem.removesuffix("_mask"): mask for stem, mask in marked.items()}
