"""How images are read: the data sets behind the loaders, and loaders that name what is broken."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from adpt.data.checks import size_message
from adpt.data.images import mask_of, read_image
from adpt.data.masks import Mask
from adpt.data.sample import Batch, ReadSample, Sample, UnreadSample
from adpt.data.sampling import draw_seed
from adpt.data.synthetic import SyntheticDefects
from adpt.data.transforms import Geometry
from adpt.data.views import PhotometricViews
from adpt.errors import BadImageError
from adpt.running.interruption import spare_worker, starting_workers

log = logging.getLogger(__name__)

OnBadImage = Literal["skip", "raise"]

Item = ReadSample | UnreadSample
T = TypeVar("T")


class ReadMask(NamedTuple):
    """A mask after reading.

    Attributes:
        pixels: (H, W) bool, of the configured size.
        size: Width and height of the file's picture; None without a file.
        remarks: Those on it, by their kind.
    """

    pixels: Tensor
    size: tuple[int, int] | None = None
    remarks: Mapping[str, str] = MappingProxyType({})


class PlainImages(Dataset[Item]):
    """Images as they are, in the order given: for references, fitting and scoring.

    A file that cannot be read becomes an `UnreadSample`, so that the main process decides what
    follows: an exception would reach it from a worker as a stack trace.
    """

    def __init__(self, samples: Sequence[Sample], geometry: Geometry) -> None:
        self.samples, self.geometry = samples, geometry

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        sample = self.samples[index]
        return _tried(self.read, sample, sample.image)

    def read(self, sample: Sample) -> ReadSample:
        """Read one image and its mask, brought to the configured size."""
        picture = read_image(sample.image, sample.class_name, self.geometry.rules)
        image, mask = self.geometry.image(picture), self._mask(sample)
        if mask.size is not None and mask.size != picture.size:
            raise BadImageError(size_message(sample, picture.size, mask.size))
        return ReadSample(sample, image, mask.pixels, mask.remarks)

    def mask(self, index: int) -> ReadMask | UnreadSample:
        """Read the mask alone, which is blank where a sample has none."""
        sample = self.samples[index]
        return _tried(self._mask, sample, sample.mask or sample.image)

    def _mask(self, sample: Sample) -> ReadMask:
        if sample.mask is None:
            return ReadMask(torch.zeros(self.geometry.image_size, dtype=torch.bool))
        mask = mask_of(sample.mask, sample.class_name, self.geometry.rules)
        height, width = mask.pixels.shape
        pixels, remarks = mask.pixels, remarks_on(mask, sample)
        for path in sample.further_masks:
            one = sample._replace(mask=path)
            mask = mask_of(path, sample.class_name, self.geometry.rules)
            if mask.pixels.shape != pixels.shape:
                raise BadImageError(size_message(one, (width, height), mask.pixels.shape[::-1]))
            pixels, remarks = pixels | mask.pixels, remarks_on(mask, one) | remarks
        return ReadMask(self.geometry.mask(pixels), (width, height), remarks)


def _tried(read: Callable[[Sample], T], sample: Sample, path: Path) -> T | UnreadSample:
    try:
        return read(sample)
    except BadImageError as error:
        return UnreadSample(sample, str(error))
    except MemoryError:
        return UnreadSample(sample, too_large(path, sample.class_name))


def too_large(path: Path, class_name: str) -> str:
    """The message on a picture that there is no memory for."""
    return (
        f"{path} (class '{class_name}') takes more memory than there is. Make it smaller, read with"
        " fewer processes (data.num_workers), or leave it out."
    )


def remarks_on(mask: Mask, sample: Sample) -> dict[str, str]:
    """Remarks on how a mask was taken, by their kind."""
    said = {}
    if mask.rounded:
        said["rounded"] = (
            f"{sample.mask} (class '{sample.class_name}', and maybe others) holds"
            f" {len(mask.values)} values: each pixel of such masks is taken for the nearest of two,"
            " the darkest and the brightest. Save masks as PNG with two values."
        )
    if mask.marks_most:
        said["marks most"] = (
            f"{sample.mask} (class '{sample.class_name}', and maybe others) marks"
            f" {mask.pixels.mean():.0%} of its picture as a defect. If that is the background, set"
            " data.invert_masks=true, or false where it is set."
        )
    return said


def say_once(remarks: Mapping[str, str], said: set[str]) -> None:
    """Log the remarks of kinds that are not yet in `said`."""
    for kind, text in remarks.items():
        if kind not in said:
            said.add(kind)
            log.warning("%s", text)


class PretrainingImages(Dataset[Item]):
    """Images as two photometric views, some normal ones with a synthetic defect.

    What is drawn depends on seed, epoch and image alone.
    """

    def __init__(
        self,
        plain: PlainImages,
        views: PhotometricViews,
        defects: SyntheticDefects,
        seed: int,
    ) -> None:
        self.plain, self.views, self.defects, self.seed = plain, views, defects, seed

    def __len__(self) -> int:
        return len(self.plain)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        item = self.plain[index]
        if isinstance(item, UnreadSample):
            return item
        sample, image, mask, remarks = item
        if sample.label == 0:
            image, mask = self.defects(image, draw_seed(self.seed, epoch, index, 1))
            sample = sample._replace(label=int(mask.any()))
        image = self.views(image, draw_seed(self.seed, epoch, index))
        return ReadSample(sample, image, mask, remarks)


class BatchLoader(DataLoader[Item]):
    """A loader that stops at files that cannot be read, or names each of them once and goes on.

    What there is to say of masks it says if it is of a kind that is not in `said`.
    """

    def __init__(
        self,
        dataset: Dataset[Item],
        *,
        on_bad_image: OnBadImage = "raise",
        said: set[str] | None = None,
        **options: Any,
    ) -> None:
        # A generator of its own: the base class would draw from the global one at every start.
        super().__init__(
            dataset, generator=torch.Generator(), worker_init_fn=spare_worker, **options
        )
        self.on_bad_image = on_bad_image
        self.named: set[str] = set()
        self.said: set[str] = set() if said is None else said
        self.used = 0

    def state_dict(self) -> dict[str, int]:
        """Epoch of the sampler and batches used of it; Lightning keeps them in checkpoints."""
        return {"epoch": self.sampler.epoch, "batches": self.used}  # type: ignore[attr-defined]

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches that were used."""
        self.sampler.resume(**state)  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch knows no batch type
        self.used = getattr(self.sampler, "used", 0)
        with starting_workers():
            batches = super().__iter__()
        for batch in batches:
            self.used += 1
            say_once(batch.remarks, self.said)
            for fault in batch.faults:
                if self.on_bad_image == "raise":
                    raise BadImageError(fault)
                if fault not in self.named:
                    self.named.add(fault)
                    log.warning("Skipped: %s", fault)
            yield batch
