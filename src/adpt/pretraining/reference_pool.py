"""Normal reference images: a pool for pretraining, k fixed shots downstream."""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, distributed

from adpt.data import AnomalyDataModule, Sample
from adpt.data.sampling import draw_seed
from adpt.errors import UserError
from adpt.residual import reference_scale

log = logging.getLogger(__name__)

Encode = Callable[[Tensor], list[Tensor]]
"""Images (B, 3, H, W) uint8 to levels (B, C, h, w) on the device that computes."""


class ReferencePool:
    """Reference features for pretraining, drawn anew for every image and step.

    By default `pool_size` normal images of every class and view are encoded once an epoch, and
    each step draws its references among them. An image is never its own reference. Which images
    are drawn depends on seed, epoch and image alone, not on the number of processes.

    Args:
        pool_size: Images a class and view that are encoded at the start of an epoch; None encodes
            fresh ones at every step instead, as the authors' code does.
        shots: Numbers of references; each step draws one of them for all its images.
        memory_gb: Largest size of the encoded pool in GB (10^9 bytes), on the device that
            computes. It takes pool_size · classes and views · Σ over levels of h·w·C values of 4
            bytes (2 under mixed precision); a larger pool is made smaller to fit.
        seed: Decides all draws.
    """

    def __init__(
        self,
        pool_size: int | None = 16,
        shots: Sequence[int] = (1, 4, 8),
        memory_gb: float = 4.0,
        seed: int = 0,
    ) -> None:
        if not shots or min(shots) < 1:
            raise UserError(f"references.shots={list(shots)}: at least one number, each above 0.")
        if pool_size is not None and pool_size < 2:
            raise UserError("references.pool_size is at least 2: an image is not its own reference")
        self.pool_size, self.shots, self.seed = pool_size, tuple(shots), seed
        self.memory_gb = memory_gb

    def setup(self, data: AnomalyDataModule, encode: Encode) -> None:
        """Learn which normal images there are and how many of them fit.

        Raises:
            UserError: A class has a view with fewer than two normal images, or the smallest
                useful pool does not fit into `memory_gb`.
        """
        self._data, self._encode = data, encode
        self._epoch = -1
        self._samples = data.pretraining_samples()
        self._index = {str(sample.image): index for index, sample in enumerate(self._samples)}
        self._normal: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._unreadable: set[int] = set()
        for index, sample in enumerate(self._samples):
            self._normal[sample.class_name, sample.view] += [index] * self.may_be_one(sample)
        for (class_name, view), members in self._normal.items():
            if len(members) < 2:
                raise UserError(
                    f"Class '{class_name}'{f', view {view},' if view else ''} has"
                    f" {len(members)} normal images; pretraining needs at least 2 as references."
                    " Leave the class out (data.classes=[...]) or add normal images."
                )
        if self.pool_size is not None:
            self.pool_size = self._fitting(self.pool_size)

    def may_be_one(self, sample: Sample) -> bool:
        """True if an image may be a reference of others."""
        return sample.label == 0

    def redraw(self, epoch: int, rank: int = 0, world_size: int = 1) -> None:
        """Choose and encode the pool of an epoch; each process encodes its share of it."""
        if self._epoch == epoch:
            return
        self._epoch = epoch
        self._scales: dict[tuple[str, str], Tensor] = {}
        if self.pool_size is None:
            return
        self._pool = {}
        for number, (group, members) in enumerate(self._normal.items()):
            rng = np.random.default_rng(draw_seed(self.seed, epoch, number))
            self._pool[group] = [
                members[i] for i in rng.permutation(len(members))[: self.pool_size]
            ]
        chosen = [index for members in self._pool.values() for index in members]
        self._row = {index: row for row, index in enumerate(chosen)}
        self._levels: list[Tensor] = []  # The last epoch's pool goes before the new one comes.
        self._levels, found = self._encode_rows(chosen, slice(rank, None, world_size))
        if world_size > 1:
            for tensor in (*self._levels, found):
                distributed.all_reduce(tensor)
        self._leave_out_unread(chosen, found)

    def draw_shots(self, step: int) -> int:
        """Number of references that the images of a step get."""
        return self.shots[draw_seed(self.seed, self._epoch, step, 1) % len(self.shots)]

    def draw(self, paths: Sequence[str], shots: int) -> list[Tensor]:
        """Draw references for some images.

        Args:
            paths: The images, as `Batch.path` names them.
            shots: References for each; where fewer normal images of the class and view can be
                had, some are used twice, which changes no residual feature.

        Returns:
            One (B, shots·h·w, C) tensor a level.
        """
        images = [self._index[path] for path in paths]
        if self.pool_size is None:
            levels, row_of = self._encode_fresh(images, shots)
        else:
            levels, row_of = self._levels, self._row
        drawn = [self._choose(image, shots) for image in images]
        rows = torch.tensor([[row_of[index] for index in row] for row in drawn], dtype=torch.int64)
        rows = rows.reshape(len(paths), shots).to(levels[0].device)
        return [level[rows].flatten(1, 2) for level in levels]

    def scale_of(self, paths: Sequence[str]) -> Tensor:
        """The scale of each image's class and view, (B, L); see `residual.reference_scale`.

        Raises:
            UserError: There is no pool to judge it from.
        """
        if self.pool_size is None:
            raise UserError(
                "model.projector.scale_by_references needs a pool: set references.pool_size."
            )
        groups = [self._group(self._index[path]) for path in paths]
        for group in set(groups) - self._scales.keys():
            rows = [self._row[index] for index in self._pool[group][: max(2, *self.shots)]]
            self._scales[group] = reference_scale([level[rows] for level in self._levels])
        if not groups:
            return torch.ones(0, len(self._levels), device=self._levels[0].device)
        return torch.stack([self._scales[group] for group in groups])

    def _group(self, image: int) -> tuple[str, str]:
        sample = self._samples[image]
        return sample.class_name, sample.view

    def _choose(self, image: int, shots: int) -> list[int]:
        groups = self._normal if self.pool_size is None else self._pool
        members = groups[self._group(image)]
        rng = np.random.default_rng(draw_seed(self.seed, self._epoch, image, 2))
        drawn = self._drawn(image, members, shots, rng)
        if not drawn:
            sample = self._samples[image]
            raise UserError(
                f"No readable normal image of class '{sample.class_name}' is left as a reference"
                f" for {sample.image}: check the class's files or leave it out."
            )
        return drawn

    def _drawn(
        self, image: int, members: Sequence[int], shots: int, rng: np.random.Generator
    ) -> list[int]:
        """References of an image among the members of its class and view; none if none is left."""
        others = [index for index in members if index != image]
        # Left out after the shuffle, so that draws don't depend on when a bad file was found.
        shuffled = [others[i] for i in rng.permutation(len(others))]
        readable = [index for index in shuffled if index not in self._unreadable]
        return [readable[number % len(readable)] for number in range(shots)] if readable else []

    def _encode_fresh(
        self, images: Sequence[int], shots: int
    ) -> tuple[list[Tensor], dict[int, int]]:
        """Encode what some images need as references; also which row of the result is whose."""
        while True:
            needed = sorted({index for image in images for index in self._choose(image, shots)})
            levels, found = self._encode_rows(needed, slice(None))
            if not self._leave_out_unread(needed, found):
                return levels, {index: row for row, index in enumerate(needed)}

    def _leave_out_unread(self, indices: Sequence[int], found: Tensor) -> bool:
        """Leave images that could not be read out of all draws; true if there are new ones."""
        unread = {index for index, good in zip(indices, found.tolist(), strict=True) if not good}
        new = unread - self._unreadable
        if new:
            log.warning("%d reference images cannot be read and are left out", len(new))
        self._unreadable |= new
        return bool(new)

    @torch.no_grad()
    def _encode_rows(self, indices: Sequence[int], share: slice) -> tuple[list[Tensor], Tensor]:
        """Encode a share of some images.

        Returns:
            One (I, h·w, C) tensor a level, and (I,) which images were read; the rows of other
            processes' shares and of unreadable files are 0.
        """
        row_of = {str(self._samples[index].image): row for row, index in enumerate(indices)}
        loader = self._data.loader([self._samples[i] for i in indices[share]], on_bad_image="skip")
        store: list[Tensor] = []
        found = torch.zeros(len(indices), dtype=torch.int64)
        for batch in loader:
            if not len(batch):
                continue
            tokens = self._encode_tokens(batch.image)
            if not store:
                store = [level.new_zeros(len(indices), *level.shape[1:]) for level in tokens]
                found = found.to(store[0].device)
            rows = torch.tensor([row_of[path] for path in batch.path], device=found.device)
            found[rows] = 1
            for level, values in zip(store, tokens, strict=True):
                level[rows] = values
        if not store:
            # Nothing to read in this share; the other processes still count on tensors of a shape.
            tokens = self._encode_tokens(self._blank())
            store = [level.new_zeros(len(indices), *level.shape[1:]) for level in tokens]
        return store, found.to(store[0].device)

    def _encode_tokens(self, images: Tensor) -> list[Tensor]:
        return [level.flatten(2).transpose(1, 2) for level in self._encode(images)]

    def _blank(self) -> Tensor:
        return torch.zeros(1, 3, *self._data.geometry.image_size, dtype=torch.uint8)

    def _fitting(self, wanted: int) -> int:
        """The largest pool a class and view, up to `wanted`, that the memory limit allows."""
        levels = self._encode(self._blank())
        one = sum(level.numel() * level.element_size() for level in levels)
        images = sum(min(wanted, len(members)) for members in self._normal.values())
        if one * images <= self.memory_gb * 1e9:
            return wanted
        size = int(self.memory_gb * 1e9 / one / len(self._normal))
        if size <= max(self.shots):
            raise UserError(
                f"references.memory_gb={self.memory_gb} holds {size} images for each of"
                f" {len(self._normal)} classes and views; {max(self.shots) + 1} are needed"
                f" ({one * (max(self.shots) + 1) * len(self._normal) / 1e9:.1f} GB). Raise it, use"
                " fewer classes, or set references.pool_size=null."
            )
        log.warning(
            "The reference pool holds %d images a class and view instead of %d, to stay within"
            " references.memory_gb=%g",
            size,
            wanted,
            self.memory_gb,
        )
        return size
