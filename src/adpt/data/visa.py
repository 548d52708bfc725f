"""VisA."""

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

from adpt.data.base import AnomalyDataModule
from adpt.data.files import images_in, listed_file, name_key, subfolders
from adpt.data.finding import Finding, no_image, no_images
from adpt.data.sample import Sample, Split
from adpt.errors import DataError

COLUMNS = ("object", "split", "label", "image", "mask")


class VisA(AnomalyDataModule):
    """VisA (Zou et al. 2022): 12 classes, split by the set's own lists.

    Args:
        root: Folder that holds the classes and `split_csv`.
        split: Which list of `split_csv`: "1cls" (the usual one: training images are all normal),
            "2cls_highshot" or "2cls_fewshot" (training images with defects, too).
        **options: As `AnomalyDataModule`.
    """

    layout: ClassVar[str] = (
        "  split_csv/1cls.csv\n"
        "  <class>/Data/Images/<Normal or Anomaly>/*.JPG\n"
        "  <class>/Data/Masks/Anomaly/*.png"
    )
    source: ClassVar[str] = (
        "VisA is downloaded by hand: github.com/amazon-science/spot-diff links the archive"
        " VisA_20220922.tar. Unpack it (split_csv is in it) and set data.root to that folder."
    )
    known_classes: ClassVar[tuple[str, ...]] = (
        "candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2", "pcb1",
        "pcb2", "pcb3", "pcb4", "pipe_fryum",
    )  # fmt: skip

    def __init__(self, root: str | Path, split: str = "1cls", **options: Any) -> None:
        super().__init__(root, **options)
        self.split_file = self.root / "split_csv" / f"{split}.csv"
        self._listed: dict[str, list[Sample]] = {}

    def available_classes(self) -> list[str]:
        """The published classes that are in the list and have a folder."""
        listed = self._read_list()
        return [f.name for f in subfolders(self.root) if f.name in listed]

    def find_samples(self, class_name: str) -> Iterator[Sample]:
        """The class's images, in the list's order."""
        listed = self._read_list()[class_name]
        message = f"has no mask: {self.split_file} names none for this anomaly."
        for sample in listed:
            if sample.unmarked and self.masks != "none":
                self.note(Finding("mask missing", sample.image, message, class_name))
        yield from self.existing(listed, self.split_file)

    def leftovers(self, class_name: str, samples: Sequence[Sample]) -> Iterator[Finding]:
        """Masks without an image, empty folders, and images that the list leaves out."""
        folder = self.root / class_name / "Data"
        masked = {name_key(image.stem) for image in images_in(folder / "Images" / "Anomaly")}
        for mask in [] if self.masks == "none" else images_in(folder / "Masks" / "Anomaly"):
            if name_key(mask.stem) not in masked:
                yield no_image(mask, class_name)
        used = {sample.image for sample in samples}
        for kind in subfolders(folder / "Images"):
            images = images_in(kind)
            if not images:
                yield no_images(kind, class_name)
            for image in images:
                if image not in used:
                    message = f"is not in {self.split_file}."
                    yield Finding("unused", image, message, class_name, fault=False)

    def _read_list(self) -> dict[str, list[Sample]]:
        if self._listed:
            return self._listed
        if not self.split_file.is_file():
            raise DataError(self.explain(f"There is no list {self.split_file}."))
        listed: dict[str, list[Sample]] = defaultdict(list)
        try:
            with self.split_file.open(newline="", encoding="utf-8-sig") as lines:
                rows = csv.DictReader(lines)
                if set(COLUMNS) - set(rows.fieldnames or ()):
                    self._refuse(
                        f"has the columns {rows.fieldnames}; expected are {', '.join(COLUMNS)}."
                        " Take it from the published archive.",
                        listed,
                    )
                    rows = csv.DictReader(())
                for row in rows:
                    read = partial(self._read_row, row, rows.line_num)
                    sample = self.entry(self.split_file, row["object"] or "", read)
                    if sample is not None:
                        listed[sample.class_name].append(sample)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            self._refuse(f"cannot be read as CSV: {error}.", listed)
        self._listed = {name: listed[name] for name in self.known_classes if name in listed}
        return self._listed

    def _refuse(self, message: str, listed: dict[str, list[Sample]]) -> None:
        """Report a faulty list; where that is collected, its classes are examined nevertheless."""
        self.report(Finding("list", self.split_file, message))
        for name in self.known_classes:
            listed.setdefault(name, [])

    def _read_row(self, row: dict[str, str], line: int) -> Sample:
        """The image that one row of the list names."""
        label, split, mask = row["label"], row["split"], row["mask"]
        if label not in ("normal", "anomaly") or split not in ("train", "test"):
            raise DataError(
                f"{self.split_file}, line {line}: label '{label}' and split '{split}'; expected"
                " are normal or anomaly, and train or test."
            )
        anomalous = label == "anomaly"
        if self.masks == "none":
            mask = ""
        return Sample(
            image=listed_file(self.root, row["image"] or "", self.split_file),
            label=int(anomalous),
            class_name=row["object"],
            split=cast(Split, split),
            mask=listed_file(self.root, mask, self.split_file) if anomalous and mask else None,
            defect="anomaly" if anomalous else "good",
        )
