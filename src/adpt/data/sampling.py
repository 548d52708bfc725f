"""Which images a process reads in which epoch, decided by the seed alone."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from adpt.errors import UserError

Key = tuple[int, int]


def draw_seed(*parts: int) -> int:
    """A seed for one draw that depends on `parts` alone: run seed, epoch, image and the like."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


class EpochSampler(Sampler[Key]):
    """Shuffled images, each with the epoch it is drawn for, dealt out to the processes.

    Every process takes its share of each global batch, so that the same images meet in a step
    whatever the number of processes. The last batch of an epoch is smaller; it is left out where
    `drop_last` says so, or where it has fewer images than there are processes.

    Args:
        length: Number of images.
        batch_size: Images in a step over all processes; a multiple of `world_size`.
        seed: Decides the order.
        rank: This process.
        world_size: Number of processes.
        drop_last: Leave out a smaller last batch.

    Raises:
        UserError: The batch cannot be shared out evenly, or nothing is left.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        *,
        drop_last: bool = False,
    ) -> None:
        if batch_size % world_size:
            raise UserError(
                f"data.batch_size={batch_size} counts the images of all {world_size} processes"
                f" and must be a multiple of {world_size}."
            )
        if drop_last and length < batch_size:
            raise UserError(
                f"data.drop_last=true leaves nothing of {length} images: data.batch_size is"
                f" {batch_size}."
            )
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.used_length = length - length % batch_size if drop_last else length
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self._begun = (0, 0)

    def resume(self, epoch: int, batches: int) -> None:
        """Leave out the batches that were used already in an epoch that was interrupted."""
        self._begun = (epoch, batches)

    @property
    def used(self) -> int:
        """Batches of the epoch that an interrupted run has used."""
        epoch, batches = self._begun
        return batches if epoch == self.epoch else 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to draw next; Lightning calls this."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Key]:
        order = np.random.default_rng(draw_seed(self.seed, self.epoch)).permutation(self.length)
        order = order[: self.used_length]
        for start in range(self.used * self.batch_size, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            if len(batch) >= self.world_size:
                share = np.array_split(batch, self.world_size)[self.rank]
                yield from ((self.epoch, int(index)) for index in share)

    def __len__(self) -> int:
        whole, rest = divmod(self.used_length, self.batch_size)
        share = 0
        if rest >= self.world_size:
            share = rest // self.world_size + (self.rank < rest % self.world_size)
        return whole * (self.batch_size // self.world_size) + share
