"""MVTec AD, and every other set in its layout."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

from adpt.data.base import AnomalyDataModule
from adpt.data.files import (
    folder_in_any_case,
    folders_by_name,
    folders_in_any_case,
    images_below,
    name_key,
    subfolders,
)
from adpt.data.finding import Finding, no_image, no_images
from adpt.data.sample import Sample


def downloaded(name: str, place: str = "mvtec.com (after agreeing to its licence)") -> str:
    """How to get a set of folders of classes, for messages."""
    return (
        f"{name} is downloaded from {place} and unpacked; then set data.root to the folder that"
        " holds the classes."
    )


class MVTec(AnomalyDataModule):
    """MVTec AD (Bergmann et al. 2019): 15 classes."""

    layout: ClassVar[str] = (
        "  <class>/train/good/*.png\n"
        "  <class>/test/<good or defect>/*.png\n"
        "  <class>/ground_truth/<defect>/<name>_mask.png"
    )
    source: ClassVar[str] = downloaded("MVTec AD")
    known_classes: ClassVar[tuple[str, ...]] = (
        "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut",
        "pill", "screw", "tile", "toothbrush", "transistor", "wood", "zipper",
    )  # fmt: skip
    normal: ClassVar[str] = "good"
    """Name of the folder of normal images."""
    image_folder: ClassVar[str] = ""
    """Folder that holds the images inside each kind's folder; "" where they lie in it directly."""
    test_folder: ClassVar[str] = "test"
    """Name of the folder of test images."""
    validation_folder: ClassVar[str] = ""
    """Name of the folder of normal images that are for validation; "" where none are read."""
    holds_all: ClassVar[bool] = True

    def available_classes(self) -> list[str]:
        """The published classes that have a folder."""
        return [name for name in folders_by_name(self.root) if name in self.known_classes]

    def find_samples(self, class_name: str) -> Iterator[Sample]:
        """Normal images for training and validation, then test images.

        Images may lie in folders within these, their masks in folders of the same names. Case does
        not matter in the names of folders.
        """
        for image in self.images_of(self.training_folder(class_name)):
            yield Sample(image, 0, class_name, "train")
        if self.validation_folder:
            folder = self.normal_folder(class_name, self.validation_folder)
            images = self.images_of(folder)
            if not images:
                message = "holds no image, and thresholds come from these: unpack it anew."
                self.report(Finding("folder without images", folder, message, class_name))
            for image in images:
                yield Sample(image, 0, class_name, "validation")
        yield from self.find_tested(class_name)

    def find_tested(self, class_name: str) -> Iterator[Sample]:
        """The images of the test folder with their masks."""
        for kind in self.kinds(class_name):
            images = self.images_of(kind.folder)
            if not images:
                self.note(no_images(kind.folder, class_name))
            if kind.normal:
                yield from (Sample(image, 0, class_name, "test") for image in images)
                continue
            masks = self.masks_of(class_name, kind, images)
            self.report(*masks.clashes)
            self.note(*(no_image(mask, class_name) for mask in masks.unmatched))
            for image in images:
                mask, *further = masks.masks_of.get(image) or (None,)
                if mask is None and self.masks != "none":
                    expected = self.expected_mask(class_name, kind, image)
                    message = f"has no mask: expected is {expected} or the like."
                    self.note(Finding("mask missing", image, message, class_name))
                yield Sample(
                    image, 1, class_name, "test", mask, "", kind.name, further_masks=tuple(further)
                )

    def leftovers(self, class_name: str, samples: Sequence[Sample]) -> Iterator[Finding]:
        """Folders beside the one that is trained on, and masks of kinds that are not there."""
        good = self.training_folder(class_name)
        for other in subfolders(good.parent):
            if other != good:
                message = f"is not used: only {self.normal} is trained on."
                yield Finding("unused", other, message, class_name, fault=False)
        if self.masks != "none":
            there = {kind.name.casefold() for kind in self.kinds(class_name)} | {self.normal}
            for key, folder in folders_in_any_case(self.masks_folder(class_name)).items():
                if key not in there:
                    yield from (no_image(mask, class_name) for mask in images_below(folder))

    def unread_folders(self) -> Collection[str]:
        """That of masks, where none are read."""
        return {"ground_truth"} if self.masks == "none" else ()

    def expected(self) -> str:
        """The tree that should be there, and what masks and normal images are told by."""
        return (
            f"{self.layout}\nA folder of normal images is called {self.normal}; masks of images in"
            " a folder within one of a defect lie in a folder of the same name."
        )

    def training_folder(self, class_name: str) -> Path:
        """Where the normal training images of a class lie."""
        return self.normal_folder(class_name, "train")

    def normal_folder(self, class_name: str, part: str) -> Path:
        """Where the normal images of a part of a class lie."""
        folder = folder_in_any_case(self.class_folder(class_name), part)
        return folder_in_any_case(folder, self.normal)

    def kinds(self, class_name: str) -> "list[Kind]":
        """The folders of a class's test images.

        Raises:
            DataError: The names of two differ in nothing but case.
        """
        found = folders_in_any_case(
            folder_in_any_case(self.class_folder(class_name), self.test_folder)
        )
        return [
            Kind(name_key(folder.name), folder, key == self.normal)
            for key, folder in found.items()
            if folder != self.masks_folder(class_name)
        ]

    def images_of(self, kind: Path) -> list[Path]:
        """The images in the folder of a kind, those in folders within it included."""
        return images_below(self.images_folder(kind))

    def masks_folder(self, class_name: str) -> Path:
        """Where a class's masks lie."""
        return folder_in_any_case(self.class_folder(class_name), "ground_truth")

    def mask_folder(self, class_name: str, kind: "Kind") -> Path:
        """Where the masks of a test folder's images lie."""
        return folder_in_any_case(self.masks_folder(class_name), kind.name)

    def masks_of(self, class_name: str, kind: "Kind", images: Sequence[Path]) -> "Matched":
        """Which mask belongs to which image of a kind; none where no masks are read."""
        if self.masks == "none":
            return Matched({}, [], [])
        return self.match(images, kind, class_name)

    def match(self, images: Sequence[Path], kind: "Kind", class_name: str) -> "Matched":
        """The masks of a kind's images, by their names."""
        folder = self.images_folder(kind.folder)
        return match_masks(images, folder, self.mask_folder(class_name, kind), class_name)

    def expected_mask(self, class_name: str, kind: "Kind", image: Path) -> Path:
        """Where the mask of an anomalous image should lie."""
        within = image.parent.relative_to(self.images_folder(kind.folder))
        return self.mask_folder(class_name, kind) / within / f"{image.stem}_mask.png"

    def images_folder(self, kind: Path) -> Path:
        """The folder that holds the images of a kind's folder."""
        return folder_in_any_case(kind, self.image_folder) if self.image_folder else kind


class Kind(NamedTuple):
    """A folder of test images.

    Attributes:
        name: The defect, as text.
        folder: Where it lies.
        normal: True if its images are normal.
    """

    name: str
    folder: Path
    normal: bool


class Matched(NamedTuple):
    """Masks and their images.

    Attributes:
        masks_of: The masks of each image that has some: one, but for sets that say otherwise.
        clashes: Images that share a mask with another, or that several masks fit.
        unmatched: Masks that fit no image.
    """

    masks_of: dict[Path, tuple[Path, ...]]
    clashes: list[Finding]
    unmatched: list[Path]


def match_masks(
    images: Sequence[Path], folder: Path, mask_folder: Path, class_name: str
) -> Matched:
    """Find the mask of each image by its name: `<stem>_mask.*` goes before `<stem>.*`.

    Args:
        images: Below `folder`.
        folder: Of the images.
        mask_folder: Of the masks, which lie in folders of the same names as the images.
        class_name: The product.
    """
    plain: dict[str, list[Path]] = defaultdict(list)
    marked: dict[str, list[Path]] = defaultdict(list)
    masks = images_below(mask_folder)
    for mask in masks:
        key = _place(mask, mask_folder)
        plain[key].append(mask)
        if key.lower().endswith("_mask"):
            marked[key[: -len("_mask")]].append(mask)
    masks_of: dict[Path, tuple[Path, ...]] = {}
    clashes, known = [], set()
    image_of: dict[Path, Path] = {}
    clash = partial(Finding, "ambiguous mask", class_name=class_name)
    for image in images:
        key = _place(image, folder)
        fitting = marked.get(key) or plain.get(key) or []
        if not fitting:
            continue
        masks_of[image] = (fitting[0],)
        known.update(fitting)
        if len(fitting) > 1:
            message = f"has several masks, {' and '.join(map(str, fitting))}: remove all but one."
            clashes.append(clash(image, message, others=tuple(fitting)))
        other = image_of.setdefault(fitting[0], image)
        if other != image:
            message = (
                f"and {other} both fit one mask, {fitting[0]}: give each image a name of its own,"
                " and a mask."
            )
            clashes.append(clash(image, message, others=tuple(fitting)))
    return Matched(masks_of, clashes, [mask for mask in masks if mask not in known])


def _place(path: Path, folder: Path) -> str:
    """A file's place in a folder, without its ending, in a form to be compared."""
    place = path.relative_to(folder)
    return "/".join(
        (*(name_key(part).casefold() for part in place.parts[:-1]), name_key(path.stem))
    )
