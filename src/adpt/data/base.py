"""The data module that all sets share: subclasses only say which files there are."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self, get_args

import torch
from lightning import LightningDataModule
from torch import Tensor

from adpt.data.checks import deepest_of
from adpt.data.files import refuse_output
from adpt.data.images import MAX_MEGAPIXELS, reading_rules
from adpt.data.index import no_collection
from adpt.data.listed import ListedSet, several
from adpt.data.pil_views import PilViews
from adpt.data.reading import (
    BatchLoader,
    OnBadImage,
    PlainImages,
    PretrainingImages,
    ReadMask,
    say_once,
)
from adpt.data.sample import UNLABELLED, Batch, Defect, Masks, Sample, Split, collate
from adpt.data.sampling import EpochSampler
from adpt.data.splits import keep_fraction, leave_out, mix_in_anomalies
from adpt.data.synthetic import SyntheticDefects
from adpt.data.transforms import Geometry, MaskResize
from adpt.data.views import PhotometricViews
from adpt.errors import BadImageError, DataError
from adpt.running.names import composed

log = logging.getLogger(__name__)

_THREADS = 4
SMALLEST_SIDE = 16
"""Pixels of an image's side: one patch of a backbone."""


class AnomalyDataModule(ListedSet, LightningDataModule):
    """A set of products with normal and defective images.

    For pretraining, `train_dataloader` gives the images of `pretrain_splits`, normal and
    defective, as two photometric views. Downstream, `normal` and `test` list a class's images and
    `loader` reads them. Nothing else differs between the two uses.

    Args:
        root: Folder of the set.
        classes: Products to use; None for all that are there.
        image_size: Side of the images in pixels, or [height, width].
        resize: See `Geometry`; None squeezes the whole picture to `image_size`.
        batch_size: Images in a step, over all processes.
        num_workers: Processes that read images, at most one a core; 0 reads in the main process.
        on_bad_image: Answer to a file that cannot be decoded: "raise" stops, "skip" leaves it
            out and counts it. None skips in pretraining and stops in evaluation.
        pretrain_splits: Parts of the published split that pretraining uses.
        held_out: Classes that pretraining leaves out, for a projector to be chosen by.
        synthetic_defects: Share of normal images that get a synthetic defect in pretraining.
        train_fraction: Share of each class's normal training images that are there at all, at
            least one, of each camera view alike; in pretraining too.
        noise_ratio: Anomalous test images that become training images of each class, in numbers of
            its normal training images (those left by `train_fraction`). Methods take them for
            normal: their label is 0, they have no mask, and they may become references like any
            other. They are no test images any more. Not in pretraining, which needs true labels.
        masks: "required" refuses defective images without a mask; "none" reads no mask, even where
            there are some: pixel metrics are then unknown, and pretraining leaves defective images
            out, which it does only where `synthetic_defects` makes others.
        bit_depth: Bits in use of files of 16-bit numbers, 8 to 16; None for what normal training
            images take, by their metadata or else their largest value.
        invert_masks: True if masks mark what is sound.
        max_megapixels: Files whose header claims more are not decoded, as if they were broken.
        as_torchvision: True rounds sizes and crops as torchvision does; see `Geometry`.
        mask_resize: "nearest", "within" or "touched"; see `Geometry`.
        drop_last: Leave a smaller last batch of an epoch out of pretraining.
        pil_views: Make the views of pretraining with PIL, see `PilViews`.
        seed: Decides order, views and synthetic defects of the images in pretraining, and which
            images `train_fraction` and `noise_ratio` choose.
    """

    def __init__(
        self,
        root: str | Path,
        classes: Sequence[str] | None = None,
        image_size: int | Sequence[int] = 224,
        *,
        resize: int | Sequence[int] | None = None,
        batch_size: int = 32,
        num_workers: int = 2,
        on_bad_image: OnBadImage | None = None,
        pretrain_splits: Sequence[Split] = ("train", "test"),
        held_out: Sequence[str] = (),
        synthetic_defects: float = 0.0,
        train_fraction: float = 1.0,
        noise_ratio: float = 0.0,
        masks: Masks = "required",
        bit_depth: int | None = None,
        invert_masks: bool = False,
        max_megapixels: float = MAX_MEGAPIXELS,
        as_torchvision: bool = False,
        mask_resize: MaskResize = "nearest",
        drop_last: bool = False,
        pil_views: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(root, classes, masks)
        rules = reading_rules(bit_depth, invert_masks, max_megapixels)
        self.geometry = Geometry(
            image_size, resize, rules, as_torchvision=as_torchvision, mask_resize=mask_resize
        )
        if min(self.geometry.image_size) < SMALLEST_SIDE:
            raise DataError(
                f"data.image_size={image_size} is too small: {SMALLEST_SIDE} pixels at least."
            )
        self.batch_size, self.drop_last, self.seed = batch_size, drop_last, seed
        self.views = PilViews() if pil_views else PhotometricViews()
        self.defects = SyntheticDefects(synthetic_defects)
        self.on_bad_image = on_bad_image
        self.pretrain_splits: tuple[Split, ...] = tuple(pretrain_splits)
        self.held_out: tuple[str, ...] = tuple(composed(str(n)) for n in several(held_out))
        self.train_fraction, self.noise_ratio = train_fraction, noise_ratio
        whole = isinstance(batch_size, int) and isinstance(num_workers, int)
        if not whole or batch_size < 1 or num_workers < 0:
            raise DataError(
                f"data.batch_size={batch_size} must be a whole number, at least 1, and"
                f" data.num_workers={num_workers} one, at least 0."
            )
        self.num_workers = min(num_workers, os.cpu_count() or 1)
        if on_bad_image not in (None, "skip", "raise"):
            raise DataError(f"data.on_bad_image is 'skip', 'raise' or null, not '{on_bad_image}'.")
        if not self.pretrain_splits or set(self.pretrain_splits) - set(get_args(Split)):
            raise DataError(
                f"data.pretrain_splits={pretrain_splits}: name some of train and test, and"
                " validation where a set has such images."
            )
        if not 0 < train_fraction <= 1:
            raise DataError(
                f"data.train_fraction={train_fraction}: a share above 0, up to 1 for all images."
            )
        if not 0 <= noise_ratio <= 1:
            raise DataError(
                f"data.noise_ratio={noise_ratio}: a ratio from 0 for no anomalous training image"
                " to 1 for as many as there are normal ones."
            )
        self.samples: list[Sample] = []
        self.said: set[str] = set()

    # ---- Reading the set ---------------------------------------------------------------------

    def setup(self, stage: str | None = None) -> None:
        """List the set's files and check what can be checked without decoding them.

        Raises:
            DataError: The folder, a class, normal images or masks are missing, a mask and its
                image differ in size, or for pretraining (stage "fit") `noise_ratio` is set, or
                there are neither masks nor synthetic defects.
        """
        if stage == "fit":
            self.refuse_noise()
        if not self.samples:
            self._list()
        if stage == "fit":
            self._check_masks_of_pretraining()

    def refuse_noise(self) -> None:
        """Refuse anomalous images that pass for normal, which pretraining has no use for.

        Raises:
            DataError: `noise_ratio` is set.
        """
        if self.noise_ratio:
            raise DataError(
                f"data.noise_ratio={self.noise_ratio} passes anomalous images off as normal, to try"
                " methods in evaluation; pretraining needs true labels: leave it at 0 there."
            )

    def _list(self) -> None:
        if not self.root.is_dir():
            raise DataError(self.explain(f"There is no folder {self.root}."))
        refuse_output(self.root, "data.root")
        samples: list[Sample] = []
        with no_collection():
            for class_name in self.choose_classes():
                samples += self.samples_of(class_name)
        self.set_rules(samples)
        samples = keep_fraction(samples, self.train_fraction, self.seed)
        self.samples = mix_in_anomalies(samples, self.noise_ratio, self.seed)

    def set_rules(self, samples: Iterable[Sample]) -> None:
        """Find what in `geometry.rules` the files decide, from all that the set lists."""
        rules = self.geometry.rules
        if not rules.bit_depths and (deepest := deepest_of(samples, rules.max_megapixels)):
            self.geometry.rules = replace(rules, bit_depths={"": deepest[0]})

    def resized(self, resize: int | None) -> Self:
        """The same set, its pictures read at another `resize`."""
        other, known = copy(self), self.geometry
        other.geometry = Geometry(
            known.image_size,
            resize,
            known.rules,
            as_torchvision=known.as_torchvision,
            mask_resize=known.mask_resize,
        )
        return other

    @property
    def classes(self) -> list[str]:
        """The classes in use, in order."""
        return list(dict.fromkeys(sample.class_name for sample in self.samples))

    def select(
        self, split: Split, label: int | None = None, class_name: str | None = None
    ) -> list[Sample]:
        """Samples of one split, of one label and one class where these are given."""
        return [
            sample
            for sample in self.samples
            if sample.split == split
            and label in (None, sample.label)
            and class_name in (None, sample.class_name)
        ]

    def pretraining_samples(self) -> list[Sample]:
        """All images that pretraining uses, normal and defective."""
        return [sample for sample in self._of_pretraining() if not sample.unmarked]

    def _of_pretraining(self) -> list[Sample]:
        samples = leave_out(self.samples, self.held_out)
        labelled = [sample for sample in samples if sample.defect != UNLABELLED]
        return [sample for sample in labelled if sample.split in self.pretrain_splits]

    def _check_masks_of_pretraining(self) -> None:
        unmarked = [sample for sample in self._of_pretraining() if sample.unmarked]
        if not unmarked:
            return
        number = f"{len(unmarked)} defective images have no mask, the first: {unmarked[0].image}"
        if not self.defects.share:
            raise DataError(
                f"Pretraining needs masks, and {number}. Give masks with data.masks=required, or"
                " leave these images out and make synthetic defects on normal ones, with"
                " data.synthetic_defects=0.5."
            )
        log.warning(
            "%s: pretraining leaves them out, and makes synthetic defects on normal ones", number
        )

    def defects_of(self, sample: Sample) -> Sequence[Defect] | None:
        """An image's defects one by one; None where the set does not tell them apart.

        Raises:
            BadImageError: A mask cannot be read.
        """
        return None

    # ---- Loaders -----------------------------------------------------------------------------

    def train_dataloader(self) -> BatchLoader:
        """Batches for pretraining: this process's share of each global batch, two views."""
        rank = self.trainer.global_rank if self.trainer else 0
        world_size = self.trainer.world_size if self.trainer else 1
        samples = self.pretraining_samples()
        return BatchLoader(
            PretrainingImages(
                PlainImages(samples, self.geometry), self.views, self.defects, self.seed
            ),
            batch_size=self.batch_size // world_size,
            sampler=EpochSampler(
                len(samples),
                self.batch_size,
                self.seed,
                rank,
                world_size,
                drop_last=self.drop_last,
            ),
            collate_fn=partial(collate, image_shape=(2, 3, *self.geometry.image_size)),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            on_bad_image=self.on_bad_image or "skip",
            said=self.said,
        )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, _: int) -> Batch:
        """Start the copy to a GPU and let the step go on; Lightning would wait for its end."""
        return batch.to(device, non_blocking=True)

    def loader(self, samples: Sequence[Sample], on_bad_image: OnBadImage = "raise") -> BatchLoader:
        """Batches of plain images in the order given; `on_bad_image` where the config has none."""
        further_batches = max(0, len(samples) - 1) // self.batch_size
        return BatchLoader(
            PlainImages(samples, self.geometry),
            batch_size=self.batch_size,
            collate_fn=partial(collate, image_shape=(3, *self.geometry.image_size)),
            num_workers=min(self.num_workers, further_batches),
            pin_memory=torch.cuda.is_available(),
            on_bad_image=self.on_bad_image or on_bad_image,
            said=self.said,
        )

    def read(self, samples: Sequence[Sample], on_bad_image: OnBadImage = "raise") -> Batch:
        """Read a few images at once, in the calling process."""
        images = PlainImages(samples, self.geometry)
        batch = collate(
            [images[index] for index in range(len(images))], (3, *self.geometry.image_size)
        )
        say_once(batch.remarks, self.said)
        if batch.faults and (self.on_bad_image or on_bad_image) == "raise":
            raise BadImageError(batch.faults[0])
        return batch

    def read_masks(self, samples: Sequence[Sample]) -> Iterator[Tensor | None]:
        """The masks alone of some samples, (H, W) bool, in order; all False where there is none.

        Yields:
            A mask, or None for one that cannot be read where such files are skipped.

        Raises:
            BadImageError: A file cannot be read.
        """
        images = PlainImages(samples, self.geometry)
        with ThreadPoolExecutor(_THREADS) as threads:
            for read in threads.map(images.mask, range(len(samples))):
                if isinstance(read, ReadMask):
                    say_once(read.remarks, self.said)
                    yield read.pixels
                elif self.on_bad_image == "skip":
                    log.warning("Skipped: %s", read.fault)
                    yield None
                else:
                    raise BadImageError(read.fault)
