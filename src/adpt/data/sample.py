"""An image of a set before it is read, and a batch of read ones."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Split = Literal["train", "validation", "test"]
Masks = Literal["required", "none"]

UNLABELLED = "unlabelled"
"""The defect of an image whose set keeps to itself if it has one."""


class Sample(NamedTuple):
    """One image of a data set, as a file.

    Attributes:
        image: The image file.
        label: 0 for normal, 1 for anomalous; 0 also where the defect is `UNLABELLED`.
        class_name: The product.
        split: The part of the published split it belongs to; images for validation are normal, and
            neither trained nor measured on.
        mask: The defect's mask; None for a normal image, and where none is read (`data.masks`).
        view: The camera view, "" where a set has only one.
        defect: The kind of defect as the set names it, "good" for a normal image.
        noise: True for an anomalous image that `data.noise_ratio` passes off as normal: its
            label is 0 and its mask None.
        piece: The single piece of the product that is seen, by a name that all views of it share;
            "" where each image shows another.
        further_masks: Those of the image's other defects, where each has a mask of its own.
    """

    image: Path
    label: int
    class_name: str
    split: Split
    mask: Path | None = None
    view: str = ""
    defect: str = "good"
    noise: bool = False
    piece: str = ""
    further_masks: tuple[Path, ...] = ()

    @property
    def masks(self) -> tuple[Path, ...]:
        """All of the image's masks, also none."""
        return () if self.mask is None else (self.mask, *self.further_masks)

    def without_masks(self) -> "Sample":
        """The same image, nothing of which is marked."""
        return self._replace(mask=None, further_masks=())

    @property
    def unmarked(self) -> bool:
        """True if it has a defect and nothing tells where."""
        return self.label == 1 and self.mask is None


class Defect(NamedTuple):
    """One of an image's defects, at the image's own size.

    Attributes:
        mask: (H, W), True on it; on one pixel at least.
        enough: So many of its pixels, and all of it counts as found.
    """

    mask: NDArray[np.bool_]
    enough: int


class ReadSample(NamedTuple):
    """A sample after reading: image (..., 3, H, W) uint8 and mask (H, W) bool.

    `remarks` holds what is to be said of the mask, by the kind of remark.
    """

    sample: Sample
    image: Tensor
    mask: Tensor
    remarks: Mapping[str, str] = MappingProxyType({})


class UnreadSample(NamedTuple):
    """A sample whose file could not be read, and why."""

    sample: Sample
    fault: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Images that were read together.

    Attributes:
        image: (B, 3, H, W) uint8; for pretraining (B, 2, 3, H, W), two photometric views.
        mask: (B, H, W) bool, True on defects.
        label: (B,) int64, 1 for anomalous.
        class_name: The product of each image.
        view: The camera view of each image.
        path: The file of each image.
        skipped: Files that could not be read and are therefore missing from this batch.
        faults: Why each of `skipped` could not be read.
        remarks: Those on masks, by their kind: of each kind the first.
    """

    image: Tensor
    mask: Tensor
    label: Tensor
    class_name: list[str]
    view: list[str]
    path: list[str]
    skipped: list[str]
    faults: list[str] = field(default_factory=list)
    remarks: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.path)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The same batch with its tensors on `device`."""
        return self._moved(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory, from where copies to a GPU overlap with work."""
        return self._moved(Tensor.pin_memory)

    def _moved(self, move: Callable[[Tensor], Tensor]) -> "Batch":
        moved = {name: move(getattr(self, name)) for name in ("image", "mask", "label")}
        return replace(self, **moved)  # type: ignore[arg-type]


def collate(items: Sequence[ReadSample | UnreadSample], image_shape: Sequence[int]) -> Batch:
    """Put read samples into one batch, and name those that could not be read.

    By `image_shape`, that of one image, a batch of unreadable files has a shape too.
    """
    read = [item for item in items if isinstance(item, ReadSample)]
    unread = [item for item in items if isinstance(item, UnreadSample)]
    samples = [item.sample for item in read]
    no_images = torch.zeros(0, *image_shape, dtype=torch.uint8)
    no_masks = torch.zeros(0, *image_shape[-2:], dtype=torch.bool)
    return Batch(
        image=torch.stack([item.image for item in read]) if read else no_images,
        mask=torch.stack([item.mask for item in read]) if read else no_masks,
        label=torch.tensor([sample.label for sample in samples], dtype=torch.int64),
        class_name=[sample.class_name for sample in samples],
        view=[sample.view for sample in samples],
        path=[str(sample.image) for sample in samples],
        skipped=[str(item.sample.image) for item in unread],
        faults=[item.fault for item in unread],
        remarks={kind: text for item in reversed(read) for kind, text in item.remarks.items()},
    )


def folder_key(folder: str) -> str:
    """A folder as a hash, which tells nobody its name and is known again; of a key, the key."""
    if re.fullmatch("[0-9a-f]{32}", folder):
        return folder
    return hashlib.sha256(folder.encode(errors="surrogateescape")).hexdigest()[:32]


def image_folders(samples: Sequence[Sample]) -> list[str]:
    """The folders that images lie in, absolute and sorted: what a projector was trained on."""
    return sorted({str(sample.image.absolute().parent) for sample in samples})
