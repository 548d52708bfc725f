"""MVTec LOCO AD."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from adpt.data.files import folders_by_name, images_below, images_in, name_key
from adpt.data.finding import Finding
from adpt.data.images import mask_of
from adpt.data.mvtec import Kind, Matched, MVTec, downloaded
from adpt.data.sample import Defect, Sample
from adpt.errors import BadImageError, DataError

CONFIG = "defects_config.json"
_THREADS = 4


class Saturation(NamedTuple):
    """How much of a defect must be found for the whole to count as found.

    Attributes:
        threshold: Pixels, or the share of the defect's pixels.
        relative: True if it is a share.
    """

    threshold: float
    relative: bool

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Saturation":
        """That of an entry of the published list; a ValueError if its numbers are out of range."""
        threshold, relative = entry["saturation_threshold"], entry["relative_saturation"]
        if not isinstance(relative, bool) or not 0 < threshold <= (1 if relative else threshold):
            raise ValueError(f"saturation_threshold {threshold}, relative_saturation {relative}")
        return cls(threshold, relative)

    def area(self, pixels: int) -> int:
        """Pixels that are enough of a defect of so many."""
        enough = int(self.threshold * pixels) if self.relative else int(self.threshold)
        return max(1, min(enough, pixels))


class MVTecLOCO(MVTec):
    """MVTec LOCO AD (Bergmann et al. 2022): 5 classes with logical and structural anomalies.

    Each defect of an image has a mask of its own, whose value names its kind in the class's
    `defects_config.json`. Layout and that file are as MVTec's own evaluation code reads them
    (`mvtec_loco_ad_evaluation`: `evaluate_experiment.py` and `src/image.py`).
    """

    layout: ClassVar[str] = (
        "  <class>/train/good/*.png, and validation/good like it\n"
        "  <class>/test/<good, logical_anomalies or structural_anomalies>/*.png\n"
        "  <class>/ground_truth/<kind of anomaly>/<name>/000.png, 001.png, ...\n"
        f"  <class>/{CONFIG}"
    )
    source: ClassVar[str] = downloaded("MVTec LOCO AD")
    known_classes: ClassVar[tuple[str, ...]] = (
        "breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors",
    )  # fmt: skip
    validation_folder: ClassVar[str] = "validation"
    set_name = "mvtec_loco"

    def match(self, images: Sequence[Path], kind: Kind, class_name: str) -> Matched:
        """The masks in the folder that is called like the image."""
        masks = self.mask_folder(class_name, kind)
        folders, stems = folders_by_name(masks), {name_key(image.stem) for image in images}
        of_none = [folder for name, folder in folders.items() if name not in stems]
        strange = [mask for folder in of_none for mask in images_below(folder)]
        found = {
            image: tuple(images_in(folders[stem]))
            for image in images
            if (stem := name_key(image.stem)) in folders
        }
        return Matched(found, [], strange + images_in(masks))

    def expected_mask(self, class_name: str, kind: Kind, image: Path) -> Path:
        """The first of those that an image should have."""
        return self.mask_folder(class_name, kind) / image.stem / "000.png"

    def deciding_files(self, class_name: str) -> Sequence[Path]:
        """The class's list of defects, where masks are read."""
        return () if self.masks == "none" else [self._config(class_name)]

    def leftovers(self, class_name: str, samples: Sequence[Sample]) -> Iterator[Finding]:
        """A list of defects that cannot be read, and masks of which it does not tell, too."""
        yield from super().leftovers(class_name, samples)
        if self.masks == "none":
            return
        try:
            known = self.saturations(class_name)
        except DataError as error:
            message = f"cannot be used: {error}"
            yield Finding("list", self._config(class_name), message, class_name)
            return
        masks = [mask for sample in samples for mask in sample.masks]
        with ThreadPoolExecutor(_THREADS) as threads:
            values = threads.map(partial(self._value, class_name), masks)
            for mask, value in zip(masks, values, strict=True):
                if value is not None and value not in known:
                    yield Finding("mask value", mask, _unlisted(value), class_name)

    def saturations(self, class_name: str) -> dict[int, Saturation]:
        """How much of a defect of each kind is enough, by the value that its masks have.

        Raises:
            DataError: The class's list of them cannot be read.
        """
        file = self._config(class_name)
        try:
            entries = list(json.loads(file.read_text(encoding="utf-8")))
            found = {int(entry["pixel_value"]): Saturation.of(entry) for entry in entries}
            if not found:
                raise ValueError("it is empty")
            if len(found) < len(entries):
                values = [int(entry["pixel_value"]) for entry in entries]
                twice = next(value for value in values if values.count(value) > 1)
                raise ValueError(f"pixel_value {twice} is there twice")
            return found
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{file} does not say from which area on a defect counts as found"
                f" ({type(error).__name__}: {error}). Expected is a list of entries with"
                " defect_name, pixel_value, saturation_threshold and relative_saturation: take it"
                " from the published archive."
            ) from error

    def defects_of(self, sample: Sample) -> list[Defect]:
        """The defects of an image, each with the pixels that are enough of its kind.

        Raises:
            BadImageError: A mask cannot be read.
            DataError: The class's list of defects cannot be read, or lacks one of these.
        """
        known = self.saturations(sample.class_name) if sample.masks else {}
        found = []
        for path in sample.masks:
            mask = mask_of(path, sample.class_name, self.geometry.rules)
            saturation = known.get(int(mask.values[-1]))
            if saturation is None:
                raise DataError(f"{path} {_unlisted(mask.values[-1])}")
            if pixels := int(mask.pixels.sum()):
                found.append(Defect(mask.pixels, saturation.area(pixels)))
        return found

    def _config(self, class_name: str) -> Path:
        return self.class_folder(class_name) / CONFIG

    def _value(self, class_name: str, mask: Path) -> float | None:
        """The value that names a mask's kind of defect; None where reading it again tells more."""
        try:
            read = mask_of(mask, class_name, self.geometry.rules)
        except BadImageError:
            return None
        return read.values[-1] if read.pixels.any() else None


def _unlisted(value: float) -> str:
    return (
        f"has the value {value:g}, which is not in the class's {CONFIG}: take both from the"
        " published archive."
    )
