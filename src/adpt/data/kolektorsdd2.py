"""KolektorSDD2."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from adpt.data.base import AnomalyDataModule
from adpt.data.files import folder_in_any_case, images_in
from adpt.data.finding import Finding, no_image, no_images
from adpt.data.images import mask_of
from adpt.data.sample import Sample, Split
from adpt.errors import BadImageError

SPLITS: tuple[Split, ...] = ("train", "test")
_THREADS = 4


class KolektorSDD2(AnomalyDataModule):
    """Kolektor Surface-Defect Dataset 2 (Božič et al. 2021): one product.

    Each image has a mask beside it, black for a normal one: masks alone tell which images are
    normal, so all of them are read when the set is listed. Defective training images are left out,
    as where methods learn from normal images alone. Layout as the authors' code reads it
    (github.com/vicoslab/mixed-segdec-net-comind2021: `data/input_ksdd2.py`).
    """

    layout: ClassVar[str] = (
        "  train/<number>.png, and its mask beside it, <number>_GT.png\n"
        "  test/<number>.png, and its mask beside it, <number>_GT.png"
    )
    source: ClassVar[str] = (
        "KolektorSDD2 is downloaded from vicos.si/resources/kolektorsdd2 and unpacked; then set"
        " data.root to the folder that holds train and test."
    )
    known_classes: ClassVar[tuple[str, ...]] = ("kolektorsdd2",)

    def available_classes(self) -> list[str]:
        """The product, where there is a folder of training images."""
        return list(self.known_classes) if self.part_folder("train").is_dir() else []

    def class_folder(self, class_name: str) -> Path:
        """That of the training images; the test images lie beside it."""
        return self.part_folder("train")

    def find_samples(self, class_name: str) -> Iterator[Sample]:
        """Normal training images, then all test images."""
        for split in SPLITS:
            images = [image for image in images_in(self.part_folder(split)) if image.stem.isdigit()]
            if not images:
                self.report(no_images(self.part_folder(split), class_name))
            masks = {mask.stem: mask for mask in images_in(self.part_folder(split))}
            marked = {image: masks.get(f"{image.stem}_GT") for image in images}
            for image, mask in marked.items():
                if mask is None:
                    message = f"has no mask beside it, {image.stem}_GT.png: unpack it anew."
                    self.report(Finding("mask missing", image, message, class_name))
            there = [mask for mask in marked.values() if mask is not None]
            with ThreadPoolExecutor(_THREADS) as threads:
                defective = dict(zip(there, threads.map(self._marks, there), strict=True))
            for image, mask in marked.items():
                if mask is None or not defective[mask]:
                    yield Sample(image, 0, class_name, split)
                elif split == "test":
                    yield Sample(image, 1, class_name, split, mask, defect="defect")

    def leftovers(self, class_name: str, samples: Sequence[Sample]) -> Iterator[Finding]:
        """Masks without an image, and files of other names, such as the published copies."""
        for split in SPLITS:
            files = images_in(self.part_folder(split))
            stems = {file.stem for file in files}
            for file in files:
                number = file.stem.removesuffix("_GT")
                if not number.isdigit():
                    message = "is not used: it is called neither <number>.png nor <number>_GT.png."
                    yield Finding("unused", file, message, class_name, fault=False)
                elif number not in stems:
                    yield no_image(file, class_name)

    def part_folder(self, split: Split) -> Path:
        """Where the images of a part lie, and their masks."""
        return folder_in_any_case(self.root, split)

    def _marks(self, mask: Path) -> bool:
        """True if a mask marks a defect, or cannot be read, which reading it again will tell."""
        try:
            return bool(mask_of(mask, self.known_classes[0], self.geometry.rules).pixels.any())
        except BadImageError:
            return True
