"""Listing a class as its data module does, but past every fault instead of up to the first."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial, singledispatch
from pathlib import Path
from typing import Literal

from adpt.data import AnomalyDataModule, MVTec, RealIAD, Sample, VisA
from adpt.data.checks import files_of
from adpt.data.examination.finding import Finding, first_line, reason
from adpt.data.examination.leftover import left_out
from adpt.data.examination.published import ADVICE
from adpt.data.files import (
    folder_in_any_case,
    folders_by_name,
    folders_in_any_case,
    images_below,
    images_in,
    inside,
    name_key,
    on_disk,
    subfolders,
    walk_files,
)
from adpt.data.mvtec import Kind
from adpt.data.realiad import SPLITS, clashes_of, masks_and_images, stem_of, view_of
from adpt.data.visa import COLUMNS
from adpt.errors import DataError, OutsideError


@dataclass
class Listing:
    """A class's images, and what was found while listing them."""

    class_name: str
    samples: list[Sample] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, kind: str, path: Path, message: str, fault: bool = True) -> None:
        """Note something that was found."""
        self.findings.append(Finding(kind, path, message, self.class_name, fault))

    def leave_out_missing(self, source: Path) -> None:
        """Leave out images and masks that `source` lists and that are not there."""
        there = on_disk(files_of(self.samples))
        for path in sorted(set(files_of(self.samples)) - there.keys()):
            self.add("missing file", path, f"is listed in {source}, and not there: unpack it anew.")
        self.samples = [
            sample._replace(image=there[sample.image], mask=sample.mask and there.get(sample.mask))
            for sample in self.samples
            if sample.image in there
        ]

    def read(self, kind: str, path: Path, step: Callable[[], Sample]) -> None:
        """Take the sample that `step` gives, or note why there is none."""
        try:
            self.samples.append(step())
        except OutsideError as error:
            self.add("path outside the set", path, f"was not followed: {error}")
        except DataError as error:
            self.add(kind, path, f"holds an entry that cannot be used: {error}")
        except (KeyError, TypeError, AttributeError) as error:
            self.add(kind, path, f"holds an entry that is none ({type(error).__name__}: {error}).")


@singledispatch
def list_class(data: AnomalyDataModule, class_name: str) -> Listing:
    """List the images of a class with every fault in the set's tree and lists.

    A set of an unknown layout is listed by its own `find_samples`, which ends at the first fault.
    """
    listing = Listing(class_name)
    try:
        listing.samples += data.find_samples(class_name)
    except DataError as error:
        listing.add("listing", data.root, f"cannot be listed: {first_line(error)}")
    for sample in listing.samples:
        if sample.unmarked and data.masks != "none":
            listing.add("mask missing", sample.image, "has no mask: add it, or data.masks=none.")
    return listing


def class_folder(data: AnomalyDataModule, class_name: str) -> Path:
    """The folder that a class lies in."""
    top = data.images if isinstance(data, RealIAD) else data.root
    return folders_by_name(top).get(class_name, top / class_name)


@list_class.register
def _mvtec(data: MVTec, class_name: str) -> Listing:
    listing = Listing(class_name)
    good = data.training_folder(class_name)
    listing.samples += [Sample(i, 0, class_name, "train") for i in data.images_of(good)]
    for other in subfolders(good.parent):
        if other != good:
            listing.add("unused", other, f"is not used: only {data.normal} is trained on.", False)
    kinds = data.kinds(class_name)
    fitting: set[Path] = set()
    for kind in kinds:
        images = data.images_of(kind.folder)
        if not images:
            listing.add(*_no_images(kind.folder))
        if kind.normal:
            listing.samples += [Sample(image, 0, class_name, "test") for image in images]
        else:
            fitting |= _defective(data, kind, images, listing)
    there = {kind.name.casefold() for kind in kinds} | {data.normal}
    folder = data.class_folder(class_name)
    ground_truth = folder_in_any_case(folder, "ground_truth")
    if data.masks == "none":
        fitting |= {ground_truth}
        there |= folders_in_any_case(ground_truth).keys()
    for key, masks in folders_in_any_case(ground_truth).items():
        if key not in there:
            for mask in images_below(masks):
                listing.add(*_no_image(mask))
    told = {finding.path for finding in listing.findings}
    used = {*files_of(listing.samples), *fitting}
    listing.findings += left_out(folder, class_name, used | told, data.not_used)
    return listing


def _defective(data: MVTec, kind: Kind, images: Sequence[Path], listing: Listing) -> set[Path]:
    """Take the defective images of a kind, note what is wrong, and give the masks that fit one."""
    masks = data.masks_of(listing.class_name, kind, images)
    folder = data.mask_folder(listing.class_name, kind)
    for clash in masks.clashes:
        listing.add("ambiguous mask", *clash)
    for image in images:
        mask = masks.mask_of.get(image)
        if mask is None and data.masks != "none":
            within = image.parent.relative_to(data.images_folder(kind.folder))
            expected = folder / within / f"{image.stem}_mask.png"
            listing.add("mask missing", image, f"has no mask: expected is {expected} or the like.")
        sample = Sample(image, 1, listing.class_name, "test", mask, defect=kind.name)
        listing.samples.append(sample)
    for mask in [] if data.masks == "none" else images_below(folder):
        if mask not in masks.fitting:
            listing.add(*_no_image(mask))
    return masks.fitting


@list_class.register
def _visa(data: VisA, class_name: str) -> Listing:
    listing, folder = Listing(class_name), data.root / class_name / "Data"
    for line, row in _rows(data, listing):
        # A faulty row of any class is in the way of all of them.
        own = listing if row["object"] == class_name else Listing(row["object"] or "")
        own.read("list", data.split_file, partial(data.read_row, row, line))
        if own is not listing:
            listing.findings += own.findings
    for sample in listing.samples:
        if sample.unmarked and data.masks != "none":
            message = f"has no mask: {data.split_file} names none for this anomaly."
            listing.add("mask missing", sample.image, message)
    listing.leave_out_missing(data.split_file)
    listed = {sample.image for sample in listing.samples}
    masked = {name_key(image.stem) for image in images_in(folder / "Images" / "Anomaly")}
    for mask in [] if data.masks == "none" else images_in(folder / "Masks" / "Anomaly"):
        if name_key(mask.stem) not in masked:
            listing.add(*_no_image(mask))
    for kind in subfolders(folder / "Images"):
        images = images_in(kind)
        if not images:
            listing.add(*_no_images(kind))
        for image in images:
            if image not in listed:
                listing.add("unused", image, f"is not in {data.split_file}.", False)
    listing.findings += left_out(folder.parent, class_name, None)
    return listing


def _rows(data: VisA, listing: Listing) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with data.split_file.open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            missing = sorted(set(COLUMNS) - set(rows.fieldnames or ()))
            if missing:
                message = f"lacks the columns {', '.join(missing)}: take it from the archive."
                listing.add("list", data.split_file, message)
                return
            for row in rows:
                yield rows.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        listing.add("list", data.split_file, f"cannot be read as CSV: {reason(error)}.")


@list_class.register
def _realiad(data: RealIAD, class_name: str) -> Listing:
    listing = Listing(class_name)
    listing.findings += left_out(class_folder(data, class_name), class_name, None)
    if data.split is None:
        _scan(data, "OK", listing)
        _scan(data, "NG", listing)
        return listing
    try:
        file = data.split_file(class_name, data.split)
    except DataError as error:
        listing.add("list", data.root, f"lacks a list: {first_line(error)}")
        return listing
    _read_split(data, file, listing)
    listing.leave_out_missing(file)
    return listing


def faults_of_splits(data: AnomalyDataModule, class_name: str, published: bool) -> list[Finding]:
    """What is wrong with lists of a class that the set has and that are not in use.

    Args:
        data: The set; only Real-IAD, read by its folders, has such lists.
        class_name: The class.
        published: Whether files that are listed and not there are told.
    """
    findings: list[Finding] = []
    if not isinstance(data, RealIAD) or data.split is not None:
        return findings
    for split in data.splits():
        try:
            file = data.split_file(class_name, split)
        except DataError:  # Not among the classes of this split.
            continue
        listing = Listing(class_name)
        _read_split(data, file, listing)
        files = set(files_of(listing.samples))
        if published and (missing := sorted(files - on_disk(files).keys())):
            count = f"lists {len(missing)} files that are not there, such as {missing[0]}"
            listing.add("missing file", file, f"{count}: {ADVICE}")
        findings += listing.findings
    return findings


def _read_split(data: RealIAD, file: Path, listing: Listing) -> None:
    """Take the samples that a split file lists, and note its faults."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        normal = content["meta"]["normal_class"]
        folder = inside(data.images, content["meta"]["prefix"], file)
        parts = [(split, list(content[split])) for split in SPLITS]
    except OutsideError as error:
        listing.add("path outside the set", file, f"was not followed: {error}")
        return
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"is not a split of Real-IAD ({type(error).__name__}: {error})."
        listing.add("list", file, message)
        return
    for split, entries in parts:
        for entry in entries:
            read = partial(data.read_entry, entry, folder, normal, listing.class_name, split, file)
            listing.read("list", file, read)


def _scan(data: RealIAD, kind: Literal["OK", "NG"], listing: Listing) -> None:
    top = folder_in_any_case(data.images / listing.class_name, kind)
    for folder, names in walk_files(top):
        if not names and not subfolders(folder):
            listing.add(*_no_images(folder))
        masks, images = masks_and_images(names)
        for clash in clashes_of(folder, names) if kind == "NG" else ():
            listing.add("ambiguous mask", *clash)
        for name in images:
            image = folder / name
            try:
                view = view_of(image)
            except DataError:
                listing.add(
                    "name", image, "does not tell its camera view: give it its published name."
                )
                view = ""
            mask = masks.pop(stem_of(name), None) if kind == "NG" else None
            if mask is None:
                split: Literal["train", "test"] = "train" if kind == "OK" else "test"
                sample = Sample(image, 0, listing.class_name, split, view=view)
            else:
                defect = next(iter(folder.relative_to(top).parts), kind)
                sample = Sample(image, 1, listing.class_name, "test", folder / mask, view, defect)
            listing.samples.append(sample)
        for mask in masks.values():
            listing.add(*_no_image(folder / mask))


def _no_images(folder: Path) -> tuple[str, Path, str]:
    return "folder without images", folder, "holds no image: unpack it anew, or remove it."


def _no_image(mask: Path) -> tuple[str, Path, str]:
    return "mask without image", mask, "is the mask of no image: restore the image, or remove it."
