"""Real-IAD."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from adpt.data.base import AnomalyDataModule
from adpt.data.files import (
    folder_in_any_case,
    folders_by_name,
    listed_file,
    name_key,
    subfolders,
    walk_files,
)
from adpt.data.finding import Finding, no_image, no_images
from adpt.data.listed import Watched
from adpt.data.sample import Sample, Split
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
            raise DataError(self.explain(f"There is no folder {self.images}."))
        found = [folder.name for folder in subfolders(self.images)]
        return [name for name in found if not self.known_classes or name in self.known_classes]

    def class_folder(self, class_name: str) -> Path:
        """The folder that a class lies in."""
        return folders_by_name(self.images).get(class_name, self.images / class_name)

    def watched(self, class_name: str) -> Watched:
        """The folder of a class and its list; the set has 150,000 files in 30,000 folders."""
        lists = [] if self.split is None else self._places(class_name, self.split)
        options = {"images": self.images.name, "split": self.split}
        return Watched(options, self.images / class_name, lists)

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
            file = self.split_file(class_name, self.split)
            if file is None:
                splits = ", ".join(f.name for f in subfolders(self.root / "realiad_jsons"))
                place = self._places(class_name, self.split)[0]
                lacking = (
                    f"There is no split file {place} (splits that are there: {splits or 'none'})."
                )
                finding = Finding("list", self.root, f"lacks a list: {lacking}", class_name)
                self.report(finding, said=self.explain(lacking))
            else:
                yield from self.existing(self.read_split(class_name, file), file)

    def _scan(self, class_name: str, kind: Literal["OK", "NG"], split: Split) -> Iterator[Sample]:
        top = folder_in_any_case(self.images / class_name, kind)
        for folder, names in walk_files(top):
            masks, images = masks_and_images(names)
            if self.collected is not None and not names and not subfolders(folder):
                self.note(no_images(folder, class_name))
            if kind == "NG":
                clashes = clashes_of(folder, names)
                self.report(*(Finding("ambiguous mask", *c, class_name) for c in clashes))
            for name in images:
                image = folder / name
                view = view_of(image)
                if view is None:
                    message = (
                        "does not tell its camera view: Real-IAD's names hold _C1_ to _C5_. Remove"
                        " the file, or give it its published name."
                    )
                    self.report(Finding("name", image, message, class_name))
                mask = masks.pop(stem_of(name), None) if kind == "NG" else None
                if mask is None:
                    sample = Sample(image, 0, class_name, split, view=view or "")
                else:
                    defect = next(iter(folder.relative_to(top).parts), kind)
                    sample = Sample(image, 1, class_name, split, folder / mask, view or "", defect)
                yield sample._replace(piece=piece_of(image))
            for mask in masks.values():
                self.warn(no_image(folder / mask, class_name))

    def spare_lists(self, class_name: str) -> list[Path]:
        """The class's files in the set's own splits where the set is read by its folders."""
        if self.split is not None:
            return []
        beside = [f.name for f in subfolders(self.root) if f.name.startswith("realiad_jsons")]
        within = [folder.name for folder in subfolders(self.root / "realiad_jsons")]
        files = [self.split_file(class_name, split) for split in sorted({*beside, *within})]
        return [file for file in files if file is not None]

    def split_file(self, class_name: str, split: str) -> Path | None:
        """The JSON file of a class in one of the set's own splits; None where there is none."""
        files = self._places(class_name, split)
        return next((file for file in files if file.is_file()), None)

    def _places(self, class_name: str, split: str) -> list[Path]:
        # The archive holds a folder of its own name; some unpack it without that folder.
        places = (self.root / "realiad_jsons" / split, self.root / split)
        return [place / f"{class_name}.json" for place in places]

    def read_split(self, class_name: str, file: Path) -> list[Sample]:
        """The samples that a split file lists, whether their files are there or not."""
        split = self.entry(file, class_name, partial(self._open_split, file))
        if split is None:
            return []
        normal_class, folder, parts = split
        read = partial(self._read_entry, folder, normal_class, class_name, file)
        samples = (
            self.entry(file, class_name, partial(read, part, entry))
            for part, entries in parts.items()
            for entry in entries
        )
        return [sample for sample in samples if sample is not None]

    def _open_split(self, file: Path) -> tuple[str, Path, dict[Split, list[Any]]]:
        with _expecting_split(file):
            content = json.loads(file.read_text(encoding="utf-8"))
            folder = listed_file(self.images, content["meta"]["prefix"], file)
            parts: dict[Split, list[Any]] = {split: list(content[split]) for split in SPLITS}
            return content["meta"]["normal_class"], folder, parts

    def _read_entry(
        self,
        folder: Path,
        normal_class: str,
        class_name: str,
        file: Path,
        split: Split,
        entry: dict[str, Any],
    ) -> Sample:
        """The image that an entry of a split file names, relative to `folder`."""
        with _expecting_split(file):
            image = listed_file(folder, entry["image_path"], file)
            defect = entry["anomaly_class"]
            mask = None if self.masks == "none" else entry["mask_path"]
            masked = None if mask is None else listed_file(folder, mask, file)
            anomalous = defect != normal_class
            if self.masks != "none" and anomalous != (mask is not None):
                raise DataError(
                    f"{file} lists {entry['image_path']} as '{defect}' with mask {mask}: a"
                    " defective image needs a mask, and a normal one has none."
                )
            kind, view = defect if anomalous else "good", view_of(image)
            if view is None:
                raise DataError(
                    f"{file} lists {image}, which does not tell its camera view: Real-IAD's names"
                    " hold _C1_ to _C5_."
                )
            piece = piece_of(image)
            return Sample(image, int(anomalous), class_name, split, masked, view, kind, piece=piece)


@contextmanager
def _expecting_split(file: Path) -> Iterator[None]:
    """Say what a split file should hold, of whatever shows that it does not."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file} is not a split of Real-IAD ({type(error).__name__}: {error}). Expected:"
            ' {"meta": {"normal_class", "prefix"}, "train": [...], "test": [...]}, entries'
            " with anomaly_class, image_path and mask_path (null for normal images)."
        ) from error


def masks_and_images(names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The masks in a folder, PNG all of them, by the stem of their image, and the images."""
    masks = {stem_of(name): name for name in names if name.lower().endswith(".png")}
    return masks, [name for name in names if not name.lower().endswith(".png")]


def stem_of(name: str) -> str:
    """The part of a name that image and mask have in common."""
    return name_key(name.rpartition(".")[0])


def clashes_of(folder: Path, names: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Images that share a mask with another and masks of one image, each with what to do."""
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
                yield folder / name, message


def view_of(image: Path) -> str | None:
    """The camera view that an image's name tells, "C1" to "C5"; None where it has no `_C<n>_`."""
    found: list[str] = VIEW.findall(image.name)
    return found[-1] if found else None


def piece_of(image: Path) -> str:
    """The piece that an image shows, by what its name has before the camera view.

    Views of one piece have that in common, such as `audiojack__0001_NG_QS`; it is what Real-IAD's
    own evaluation goes by (the `sample_key_pat` of github.com/Tencent/AnomalyDetection_Real-IAD).
    "" where a name tells no view.
    """
    *_, last = [None, *VIEW.finditer(image.name)]
    return image.name[: last.start()] if last else ""
