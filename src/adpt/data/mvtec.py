"""MVTec AD, and every other set in its layout."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from adpt.data.base import AnomalyDataModule, require_masks
from adpt.data.images import is_image
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

    def available_classes(self) -> list[str]:
        """Folders with a `train/good`, among the published classes where those are known."""
        found = [folder.parent.parent.name for folder in sorted(self.root.glob("*/train/good"))]
        return [name for name in found if not self.known_classes or name in self.known_classes]

    def find_samples(self, class_name: str) -> Iterator[Sample]:
        """Normal training images, then the test folder with its masks."""
        folder = self.root / class_name
        for image in images_in(folder / "train" / "good"):
            yield Sample(image, 0, class_name, "train")
        found = []
        for kind in subfolders(folder / "test"):
            for image in images_in(kind):
                if kind.name == "good":
                    found.append(Sample(image, 0, class_name, "test"))
                else:
                    mask = self.find_mask(folder, kind.name, image)
                    found.append(Sample(image, 1, class_name, "test", mask=mask, defect=kind.name))
        yield from require_masks(found, f"{folder}/ground_truth/<defect>/<name>_mask.png")

    def find_mask(self, folder: Path, defect: str, image: Path) -> Path | None:
        """The mask of a defective image, where there is one."""
        masks = folder / "ground_truth" / defect
        names = (f"{image.stem}_mask.png", f"{image.stem}.png")
        return next((masks / name for name in names if (masks / name).is_file()), None)


def images_in(folder: Path) -> list[Path]:
    """Image files directly in a folder, sorted by name; none where there is no such folder."""
    return sorted(path for path in folder.glob("*") if is_image(path))


def subfolders(folder: Path) -> list[Path]:
    """Folders directly in a folder, sorted by name."""
    return sorted(path for path in folder.glob("*") if path.is_dir())
