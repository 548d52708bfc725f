"""DAGM 2007."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from adpt.data.base import AnomalyDataModule
from adpt.data.files import folder_in_any_case, folders_by_name, images_in, name_key
from adpt.data.finding import Finding, no_image, no_images
from adpt.data.sample import Sample, Split

SPLITS: tuple[Split, ...] = ("train", "test")


class DAGM(AnomalyDataModule):
    """DAGM 2007 (Wieler and Hahn 2007): 10 rendered textures.

    An image is defective where there is a mask of it, which is a rough ellipse; a part in which no
    image has one is refused, for nobody could tell. Defective training images are left out, as
    where methods learn from normal images alone. Layout as in
    github.com/vicoslab/mixed-segdec-net-comind2021 (`data/input_dagm.py`), which reads the archives
    of the competition as they are.
    """

    layout: ClassVar[str] = (
        "  <Class1 to Class10>/<Train or Test>/<number>.PNG\n"
        "  <Class1 to Class10>/<Train or Test>/Label/<number>_label.PNG"
    )
    source: ClassVar[str] = (
        "DAGM 2007 is published by the HCI of Heidelberg University (zenodo.org/records/12750201);"
        " unpack it and set data.root to the folder that holds Class1 to Class10."
    )
    known_classes: ClassVar[tuple[str, ...]] = tuple(f"Class{number}" for number in range(1, 11))

    def available_classes(self) -> list[str]:
        """The published classes that have a folder."""
        there = folders_by_name(self.root)
        return [name for name in self.known_classes if name in there]

    def find_samples(self, class_name: str) -> Iterator[Sample]:
        """Normal training images, then all test images."""
        for split in SPLITS:
            folder, masks = self._folder(class_name, split), self._masks(class_name, split)
            images = images_in(folder)
            if not images:
                self.report(no_images(folder, class_name))
            elif not any(name_key(image.stem) in masks for image in images):
                message = (
                    f"has no mask of any image of {folder}, and masks alone tell which of these are"
                    " defective: unpack it anew."
                )
                labels = self._labels(class_name, split)
                self.report(Finding("mask missing", labels, message, class_name))
            for image in images:
                mask = masks.get(name_key(image.stem))
                if mask is None:
                    yield Sample(image, 0, class_name, split)
                elif split == "test":
                    yield Sample(image, 1, class_name, split, mask, defect="defect")

    def leftovers(self, class_name: str, samples: Sequence[Sample]) -> Iterator[Finding]:
        """Masks without an image."""
        for split in SPLITS:
            stems = {name_key(image.stem) for image in images_in(self._folder(class_name, split))}
            for stem, mask in self._masks(class_name, split).items():
                if stem not in stems:
                    yield no_image(mask, class_name)

    def _folder(self, class_name: str, split: Split) -> Path:
        return folder_in_any_case(self.class_folder(class_name), split)

    def _labels(self, class_name: str, split: Split) -> Path:
        return folder_in_any_case(self._folder(class_name, split), "Label")

    def _masks(self, class_name: str, split: Split) -> dict[str, Path]:
        """Masks by the stem of their image."""
        masks = images_in(self._labels(class_name, split))
        return {name_key(mask.stem).lower().removesuffix("_label"): mask for mask in masks}
