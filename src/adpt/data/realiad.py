"""Real-IAD."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from adpt.data.base import AnomalyDataModule
from adpt.data.checks import Clash, require_files
from adpt.data.files import folder_in_any_case, inside, name_key, subfolders, walk_files
from adpt.data.sample import Sample, Split
from adpt.data.watch import look_at, remark
from adpt.errors import DataError

RESOLUTIONS = ("256", "512", "1024", "raw")
SPLITS: tuple[Split, ...] = ("train", "test")
VIEW = re.compile(r"_(C\d+)[_.]")


class RealIAD(AnomalyDataModule):
    """Real-IAD (Wang et al. 2024): 30 classes, each seen by 5 cameras.

    Read by scanning its folders (`split=None`), all images under OK are "train", all under NG
    "test": the normal images among the latter are views that do not show their product's defect,
    which is what pretraining wants. To measure on Real-IAD, use one of its own splits.

    Args:
        root: Folder that holds `realiad_<resolution>` and `realiad_jsons`.
        resolution: 256, 512, 1024 or "raw".
        split: A folder of `realiad_jsons`: "realiad_jsons", "realiad_jsons_sv" (one view) or
            "realiad_jsons_fuiad_0.0" to "…_0.4" (anomalous training images); None scans.
        **options: As `AnomalyDataModule`.
    """

    layout: ClassVar[str] = (
        "  realiad_512/<class>/OK/S0001/<class>_0001_OK_C1_<time>.jpg\n"
        "  realiad_512/<class>/NG/<defect>/S0001/*_C1_<time>.jpg, mask beside it .png\n"
        "  realiad_jsons/<realiad_jsons, realiad_jsons_sv, …>/<class>.json"
    )
    source: ClassVar[str] = (
        "Real-IAD is downloaded by hand: ask for access at huggingface.co/datasets/Real-IAD/"
        "Real-IAD (see realiad4ad.github.io/Real-IAD), unpack each class's archive into"
        " realiad_512 and realiad_jsons.zip beside it, and set data.root to the folder of both."
    )
    known_classes: ClassVar[tuple[str, ...]] = (
        "audiojack", "bottle_cap", "button_battery", "end_cap", "eraser", "fire_hood", "mint",
        "mounts", "pcb", "phone_battery", "plastic_nut", "plastic_plug", "porcelain_doll",
        "regulator", "rolled_strip_base", "sim_card_set", "switch", "tape", "terminalblock",
        "toothbrush", "toy", "toy_brick", "transistor1", "u_block", "usb", "usb_adaptor", "vcpill",
        "wooden_beads", "woodstick", "zipper",
    )  # fmt: skip

    def __init__(
        self,
        root: str | Path,
        resolution: int | str = 512,
        split: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        if str(resolution) not in RESOLUTIONS:
            raise DataError(
                f"data.resolution is one of {', '.join(RESOLUTIONS)}, not '{resolution}'."
            )
        self.images = self.root / f"realiad_{resolution}"
        self.split = split

    def available_classes(self) -> list[str]:
        """The classes that have a folder in the wanted resolution."""
        if not self.images.is_dir():
            raise DataError(self._explain(f"There is no folder {self.images}."))
        found = [folder.name for folder in subfolders(self.images)]
        return [name for name in found if not self.known_classes or name in self.known_classes]

    def listing_options(self) -> dict[str, Any]:
        """What the index is of; the set has 150,000 files in 30,000 folders."""
        return {"images": self.images.name, "split": self.split}

    def find_samples(self, class_name: str) -> Iterator[Sample]:
        """The class's images: by folder, or as its JSON lists them."""
        if self.split is None and self.masks == "none":
            raise DataError(
                "data.masks=none: read by its folders, Real-IAD tells by masks alone which views"
                " show a defect. Choose one of its own splits: data.split=realiad_jsons."
            )
        if self.split is None:
            yield from self._scan(class_name, "OK", "train")
            yield from self._scan(class_name, "NG", "test")
        else:
            yield from self._listed(class_name, self.split_file(class_name, self.split))

    def _scan(self, class_name: str, kind: Literal["OK", "NG"], split: Split) -> Iterator[Sample]:
        top = folder_in_any_case(self.images / class_name, kind)
        for folder, names in walk_files(top):
            masks, images = masks_and_images(names)
            for clash in clashes_of(folder, names) if kind == "NG" else ():
                raise DataError(str(clash))
            for name in images:
                image = folder / name
                view = view_of(image)
                mask = masks.pop(stem_of(name), None) if kind == "NG" else None
                if mask is None:
                    yield Sample(image, 0, class_name, split, view=view)
                else:
                    defect = next(iter(folder.relative_to(top).parts), kind)
                    yield Sample(image, 1, class_name, split, folder / mask, view, defect)
            for mask in masks.values():
                remark(f"{folder / mask} belongs to no image under NG and is not used")

    def splits(self) -> list[str]:
        """Names of folders that may hold the set's own splits, as `split` takes them."""
        beside = [f.name for f in subfolders(self.root) if f.name.startswith("realiad_jsons")]
        return sorted({*beside, *(f.name for f in subfolders(self.root / "realiad_jsons"))})

    def split_file(self, class_name: str, split: str) -> Path:
        """The JSON file of a class in one of the set's own splits.

        Raises:
            DataError: There is none; the message lists the splits that are there.
        """
        # The archive holds a folder of its own name; some unpack it without that folder.
        places = [self.root / "realiad_jsons" / split, self.root / split]
        files = [place / f"{class_name}.json" for place in places]
        for file in files:
            look_at(file)
            if file.is_file():
                return file
        there = ", ".join(f.name for f in subfolders(self.root / "realiad_jsons")) or "none"
        raise DataError(
            self._explain(f"There is no split file {files[0]} (splits that are there: {there}).")
        )

    def _listed(self, class_name: str, file: Path) -> list[Sample]:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            meta = content["meta"]
            folder = inside(self.images, meta["prefix"], file)
            samples = [
                self.read_entry(entry, folder, meta["normal_class"], class_name, s, file)
                for s in SPLITS
                for entry in content[s]
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{file} is not a split of Real-IAD ({type(error).__name__}: {error}). Expected:"
                ' {"meta": {"normal_class", "prefix"}, "train": [...], "test": [...]}, entries'
                " with anomaly_class, image_path and mask_path (null for normal images)."
            ) from error
        return require_files(samples, file)

    def read_entry(
        self,
        entry: dict[str, Any],
        folder: Path,
        normal_class: str,
        class_name: str,
        split: Split,
        file: Path,
    ) -> Sample:
        """The image that one entry of a split file names.

        Args:
            entry: The entry.
            folder: What its paths are relative to.
            normal_class: What the file calls normal.
            class_name: The product.
            split: The part that the entry stands in.
            file: The split file, for messages.

        Raises:
            DataError: Label and mask contradict each other, or a path leads out of the set.
        """
        image = inside(folder, entry["image_path"], file)
        defect = entry["anomaly_class"]
        anomalous = defect != normal_class
        mask = None if self.masks == "none" else entry["mask_path"]
        if self.masks != "none" and anomalous != (mask is not None):
            raise DataError(
                f"{file} lists {entry['image_path']} as '{defect}' with mask {mask}: a defective"
                " image needs a mask, and a normal one has none."
            )
        return Sample(
            image=image,
            label=int(anomalous),
            class_name=class_name,
            split=split,
            mask=None if mask is None else inside(folder, mask, file),
            view=view_of(image),
            defect=defect if anomalous else "good",
        )


def masks_and_images(names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The masks in a folder, PNG all of them, by the stem of their image, and the images."""
    masks = {stem_of(name): name for name in names if name.lower().endswith(".png")}
    return masks, [name for name in names if not name.lower().endswith(".png")]


def stem_of(name: str) -> str:
    """What image and mask have in common."""
    return name_key(name.rpartition(".")[0])


def clashes_of(folder: Path, names: Sequence[str]) -> Iterator[Clash]:
    """Images in a folder that have one mask between them, and masks of one image."""
    masks, images = masks_and_images(names)
    for several, what in (
        ([name for name in images if stem_of(name) in masks], "fit one mask"),
        ([name for name in names if name not in images], "are masks of one image"),
    ):
        first: dict[str, str] = {}
        for name in several:
            other = first.setdefault(stem_of(name), name)
            if other != name:
                message = f"and {folder / other} both {what}: remove or rename one of them."
                yield Clash(folder / name, message)


def view_of(image: Path) -> str:
    """The camera view that an image's name tells, "C1" to "C5".

    Raises:
        DataError: The name has no `_C<n>_`.
    """
    found = VIEW.findall(image.name)
    if not found:
        raise DataError(
            f"{image} does not tell its camera view: Real-IAD's names hold _C1_ to _C5_."
            " Remove the file, or give it its published name."
        )
    view: str = found[-1]
    return view
