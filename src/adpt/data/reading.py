"""How images are read: the data sets behind the loaders, and loaders that name what is broken."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Dataset

from adpt.data.checks import size_message
from adpt.data.images import read_image, read_mask
from adpt.data.sample import Batch, ReadSample, Sample, UnreadSample
from adpt.data.sampling import draw_seed
from adpt.data.synthetic import SyntheticDefects
from adpt.data.transforms import Geometry
from adpt.data.views import PhotometricViews
from adpt.errors import BadImageError
from adpt.interruption import spare_worker, starting_workers

log = logging.getLogger(__name__)

OnBadImage = Literal["skip", "raise"]

Item = ReadSample | UnreadSample


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
        try:
            return self.read(sample)
        except BadImageError as error:
            return UnreadSample(sample, str(error))

    def read(self, sample: Sample) -> ReadSample:
        """Read one image and its mask, brought to the configured size."""
        picture = read_image(sample.image, sample.class_name)
        image = self.geometry.image(picture)
        if sample.mask is None:
            return ReadSample(sample, image, torch.zeros(image.shape[-2:], dtype=torch.bool))
        mask = read_mask(sample.mask, sample.class_name)
        if mask.shape != (picture.height, picture.width):
            raise BadImageError(size_message(sample, picture.size, (mask.shape[1], mask.shape[0])))
        return ReadSample(sample, image, self.geometry.mask(mask))


class PretrainingImages(Dataset[Item]):
    """Images as two photometric views, some normal ones with a drawn defect.

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
        sample, image, mask = item
        if sample.label == 0:
            image, mask = self.defects(image, draw_seed(self.seed, epoch, index, 1))
            sample = sample._replace(label=int(mask.any()))
        image = self.views(image, draw_seed(self.seed, epoch, index))
        return ReadSample(sample, image, mask)


class BatchLoader(DataLoader[Item]):
    """A loader that stops at files that cannot be read, or names each of them once and goes on."""

    def __init__(
        self, dataset: Dataset[Item], *, on_bad_image: OnBadImage = "raise", **options: Any
    ) -> None:
        # A generator of its own: the base class would draw from the global one at every start.
        super().__init__(
            dataset, generator=torch.Generator(), worker_init_fn=spare_worker, **options
        )
        self.on_bad_image = on_bad_image
        self.named: set[str] = set()
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
            for fault in batch.faults:
                if self.on_bad_image == "raise":
                    raise BadImageError(fault)
                if fault not in self.named:
                    self.named.add(fault)
                    log.warning("Skipped: %s", fault)
            yield batch
