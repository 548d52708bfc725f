"""Features of a set's images: encoded once, kept in memory or in the cache."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from adpt.backbones.base import AT_ONCE, Backbone
from adpt.errors import UserError
from adpt.evaluation.feature_cache import (
    CacheFullError,
    FeatureCache,
    FeatureSpace,
    MissingFeaturesError,
)
from adpt.evaluation.feature_views import Patches, Rows
from adpt.methods.feature_sets import FeatureSet, InMemory
from adpt.running.contents import contents
from adpt.running.progress import Progress, no_progress
from adpt.running.sources import MAKES_FEATURES, own_code, source_of
from adpt.running.whole_files import remove_leftovers

if TYPE_CHECKING:
    from adpt.data import AnomalyDataModule, Sample

log = logging.getLogger(__name__)

_THREADS = 4
Make = Callable[[Sequence[int]], list[Tensor]]
"""Rows of images to their levels, (len(rows), C, h, w) float32 on the CPU."""
Encode = Callable[[Tensor], list[Tensor]]
"""Images to their levels, on the device that computes."""


class Cached:
    """A `FeatureSet` in the cache: read when asked for, made anew where it went missing.

    Args:
        space: The part of the cache.
        keys: The images' keys.
        make: Makes features that are not there.
    """

    def __init__(self, space: FeatureSpace, keys: Sequence[str], make: Make) -> None:
        self.space, self.keys, self.make = space, list(keys), make

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """The levels of some images."""
        while True:
            try:
                return self.space.read([self.keys[row] for row in rows])
            except MissingFeaturesError as missing:
                row = self.keys.index(missing.key)
                self.space.write(missing.key, [level[0] for level in self.make([row])])


@dataclass(frozen=True)
class Features:
    """Features of some images, and what is known of the images.

    Attributes:
        source: The levels, in memory or in the cache.
        masks: (N, H, W) bool; (N, 0, 0) where nobody marked the defects.
        labels: (N,) int64.
        paths: The image files.
        skipped: Files that could not be read.
        keys: SHA-256 of each image file; empty where nothing is cached.
        validation: With test images: features of the set's normal images for validation.
        labelled: False where the set keeps the labels to itself; these are then 0.
        class_token: True if the last level is the class token.
    """

    source: FeatureSet
    masks: Tensor
    labels: Tensor
    paths: list[str]
    skipped: list[str]
    keys: tuple[str, ...] = ()
    validation: Features | None = None
    labelled: bool = True
    class_token: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def marked(self) -> bool:
        """True if the masks tell where the defects are."""
        return self.masks.shape[-1] > 0

    @property
    def num_bytes(self) -> int:
        """Size of all levels: 4·N·Σ C·h·w bytes."""
        one = self.read([0]) if len(self) else []
        return len(self) * sum(level.numel() * level.element_size() for level in one)

    @property
    def levels(self) -> list[Tensor]:
        """The levels of all images, read into memory."""
        return self.read(range(len(self))) if len(self) else []

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """The levels of some images, each (len(rows), C, h, w) float32 on the CPU."""
        return self.source.read(rows)

    def batches(self, size: int, device: torch.device) -> Iterator[list[Tensor]]:
        """The levels, `size` images at a time, on `device`; the next ones are read meanwhile."""
        on_gpu = device.type == "cuda"
        if not len(self):
            return

        @torch.no_grad()  # A thread does not take this over from the one that started it.
        def read(start: int) -> list[Tensor]:
            levels = self.read(range(start, min(start + size, len(self))))
            return [level.pin_memory() for level in levels] if on_gpu else levels

        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(read, 0)
            for start in range(0, len(self), size):
                levels = coming.result()
                if start + size < len(self):
                    coming = reader.submit(read, start + size)
                yield [level.to(device, non_blocking=on_gpu) for level in levels]

    def take(self, rows: Sequence[int]) -> Features:
        """The features of some of the images."""
        rows = list(rows)
        return replace(
            self,
            source=Rows(self.source, rows),
            masks=self.masks[rows],
            labels=self.labels[rows],
            paths=[self.paths[row] for row in rows],
            keys=tuple(self.keys[row] for row in rows) if self.keys else (),
        )

    def seen_by(self, uses_class_token: bool) -> Features:
        """As a method sees them: without the class token unless it uses that.

        Raises:
            UserError: It does, and these have none.
        """
        if uses_class_token == self.class_token:
            return self
        if uses_class_token:
            raise UserError(
                "A method that uses the class token was given features without it: encode them with"
                " class_token=True."
            )
        held = self.source
        return replace(
            self,
            source=InMemory(held.levels[:-1]) if isinstance(held, InMemory) else Patches(held),
            validation=self.validation and self.validation.seen_by(False),
            class_token=False,
        )

    def held(self, memory_gb: float) -> FeatureSet:
        """The levels in memory where they take no more than `memory_gb`, else as they are."""
        if isinstance(self.source, InMemory) or self.num_bytes > memory_gb * 1e9:
            return self.source
        return InMemory(self.levels)


def own_space(
    cache: FeatureCache | None,
    backbone: Backbone,
    data: AnomalyDataModule,
    class_token: bool = False,
) -> FeatureSpace | None:
    """The part of the cache for a backbone's own features of images of a size."""
    if cache is None:
        return None
    return cache.space(
        backbone.kept_as,
        backbone=backbone.decides(),
        geometry=data.geometry.decides(),
        # A set of one's own may read its files in a way of its own.
        set=source_of(type(data)),
        code=own_code(MAKES_FEATURES),
        batch_size=data.batch_size,  # Rounding differs.
        device=backbone.mean.device.type,
        **({"class_token": True} if class_token else {}),
    )


def extract(
    backbone: Backbone,
    data: AnomalyDataModule,
    samples: Sequence[Sample],
    *,
    device: torch.device,
    progress: Progress = no_progress,
    cache: FeatureCache | None = None,
    class_token: bool = False,
) -> Features:
    """Features of images, each encoded once, and not at all if they lie in the cache.

    In the cache images are known by their content: one that was changed is encoded anew, one that
    was moved or copied is not. Masks are never cached.

    Raises:
        BadImageError: A file cannot be read and the data module does not skip such files.
    """
    space = own_space(cache, backbone, data, class_token)
    if cache is None or space is None:
        return _in_memory(backbone, data, samples, device, progress, class_token)
    keys = _content_keys(samples)

    def held_in_memory() -> Features:
        held = _in_memory(backbone, data, samples, device, progress, class_token)
        return replace(held, keys=tuple(keys[path] for path in held.paths))

    encode = backbone.encoding(class_token)
    known = space.present(list(keys.values()))
    missing = [sample for sample in samples if keys[str(sample.image)] not in known]
    if missing:
        remove_leftovers(space.folder)
        blank = torch.zeros(1, 3, *data.geometry.image_size, dtype=torch.uint8)
        one = sum(level.numel() * space.dtype.itemsize for level in encode(blank.to(device)))
        if not cache.make_room(one * len(missing), {space.path(key) for key in known}):
            _say_too_small(cache, one * len(samples))
            return held_in_memory()
    already = len(samples) - len(missing)
    read: dict[str, Tensor] = {}
    skipped: list[str] = []
    with ThreadPoolExecutor(_THREADS) as threads:
        for batch in data.loader(missing):
            skipped += batch.skipped
            if len(batch):
                levels = _encoded(encode, batch.image, data.batch_size, device)
                images = [[level[i] for level in levels] for i in range(len(batch))]
                try:
                    list(threads.map(space.write, [keys[path] for path in batch.path], images))
                except CacheFullError as error:
                    log.warning("%s Features are held in memory instead", error)
                    return held_in_memory()
                read |= dict(zip(batch.path, batch.mask, strict=True))
            progress("encoding", already + len(read) + len(skipped), len(samples))
        known_samples = [sample for sample in samples if keys[str(sample.image)] in known]
        for sample, mask in zip(known_samples, data.read_masks(known_samples), strict=True):
            if mask is None:
                skipped.append(str(sample.image))
            else:
                read[str(sample.image)] = mask
    kept = [sample for sample in samples if str(sample.image) in read]
    paths = [str(sample.image) for sample in kept]

    def make(rows: Sequence[int]) -> list[Tensor]:
        batch = data.read([kept[row] for row in rows], on_bad_image="raise")
        return _encoded(encode, batch.image, data.batch_size, device)

    return Features(
        Cached(space, [keys[path] for path in paths], make),
        _stacked([read[path] for path in paths], data),
        torch.tensor([sample.label for sample in kept], dtype=torch.int64),
        paths,
        skipped,
        tuple(keys[path] for path in paths),
        class_token=class_token,
    )


def _encoded(encode: Encode, images: Tensor, batch_size: int, device: torch.device) -> list[Tensor]:
    """Levels of images, on the CPU; blank ones fill what the device takes at once.

    The last bits of an image's features depend on how many others it is encoded with: always with
    as many, they are the same whatever the cache lacks.
    """
    count = len(images)
    at_once = min(batch_size, AT_ONCE) if device.type == "cpu" else batch_size
    if missing := -count % at_once:
        images = torch.cat([images, images.new_zeros(missing, *images.shape[1:])])
    levels = encode(images.to(device, non_blocking=True))
    return [level[:count].float().cpu() for level in levels]


def _in_memory(
    backbone: Backbone,
    data: AnomalyDataModule,
    samples: Sequence[Sample],
    device: torch.device,
    progress: Progress,
    class_token: bool,
) -> Features:
    encode = backbone.encoding(class_token)
    parts: list[list[Tensor]] = []
    masks, labels, paths, skipped = [], [], [], []
    for batch in data.loader(samples):
        skipped += batch.skipped
        if len(batch):
            parts.append(_encoded(encode, batch.image, data.batch_size, device))
            masks += list(batch.mask)
            labels += batch.label.tolist()
            paths += batch.path
        progress("encoding", len(paths) + len(skipped), len(samples))
    levels = []
    for number in range(len(parts[0]) if parts else 0):
        # Level by level, so that no second copy of all features stands beside the first.
        levels.append(torch.cat([part[number] for part in parts]))
        for part in parts:
            part[number] = torch.empty(0)
    labelled = torch.tensor(labels, dtype=torch.int64)
    source, stacked = InMemory(levels), _stacked(masks, data)
    return Features(source, stacked, labelled, paths, skipped, class_token=class_token)


def _content_keys(samples: Sequence[Sample]) -> dict[str, str]:
    """SHA-256 of each file, by its path; the path's own where the file cannot be read."""
    found = contents([sample.image for sample in samples])
    # What cannot be read is named and skipped, or refused, by the loader.
    return {
        str(path): digest or hashlib.sha256(os.fsencode(path)).hexdigest()
        for path, digest in found.items()
    }


def _stacked(masks: Sequence[Tensor], data: AnomalyDataModule) -> Tensor:
    if masks:
        return torch.stack(list(masks))
    return torch.zeros(0, *data.geometry.image_size, dtype=torch.bool)


def _say_too_small(cache: FeatureCache, num_bytes: int) -> None:
    log.warning(
        "cache.max_gb=%g is too small for %.3g GB of features: they are held in memory instead",
        cache.max_gb,
        num_bytes / 1e9,
    )
