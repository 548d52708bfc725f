"""Scores of training pictures as if each had not been there, without fitting again."""

from collections.abc import Sequence

import torch
from torch import Tensor

from adpt.methods.left_out import left_out_gaussians
from adpt.methods.maps import smooth, upsample


class Bank:
    """PatchCore's bank, and which picture each of its patches comes from.

    Where a picture is left out, each of its patches in the bank is replaced by a patch of another
    picture: the nearest one of those that it stands for, as a bank chosen without the picture would
    have taken one of them.

    Args:
        bank: (M, D), rows of `embedded`.
        embedded: (n, patches, D), the patches of all training pictures.
    """

    def __init__(self, bank: Tensor, embedded: Tensor) -> None:
        self.bank = bank
        self.origin = bank.mean(0)
        self.centred = bank - self.origin
        self.halves = self.centred.square().sum(1) / -2
        count = len(embedded)
        rows = [self._nearest(picture, self.halves) for picture in embedded]
        distances = torch.stack(
            [_squares(p, bank[row]) for p, row in zip(embedded, rows, strict=True)]
        )
        nearest = torch.stack(rows)
        # A patch lies in the bank if it is at distance 0 from its nearest there.
        self.owners = torch.full((len(bank),), -1)
        for picture in range(count):
            inside = nearest[picture][distances[picture] == 0]
            free = inside[self.owners[inside] < 0]
            self.owners[free] = picture
        # The nearest member of another picture, a substitute for each patch of the bank.
        others = self.owners[nearest] != torch.arange(count)[:, None]
        flat = torch.where(others, distances, torch.inf).flatten()
        order = flat.argsort(descending=True)
        order = order[flat[order].isfinite()]
        self.substitute = torch.full((len(bank),), -1)
        self.substitute[nearest.flatten()[order]] = order  # the last written is the nearest
        self.members = embedded.flatten(0, 1)

    def left_out(self, embedded: Tensor, owners: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Patch scores without a picture's own patches, and with others in their place.

        Args:
            embedded: (B, patches, D).
            owners: Which training picture each of the B was made from.
        """
        plain, filled = [], []
        for patches, owner in zip(embedded, owners, strict=True):
            own = self.owners == owner
            halves = self.halves.masked_fill(own, -torch.inf)
            plain.append(_squares(patches, self.bank[self._nearest(patches, halves)]))
            rows = self.substitute[own]
            rows = rows[rows >= 0]
            best = plain[-1]
            if len(rows):
                others = self.members[rows]
                best = torch.minimum(best, torch.cdist(patches, others).square().amin(1))
            filled.append(best)
        return torch.stack(plain), torch.stack(filled)

    def all(self, embedded: Tensor) -> Tensor:
        """Patch scores of pictures that were not trained on."""
        return torch.stack(
            [_squares(p, self.bank[self._nearest(p, self.halves)]) for p in embedded]
        )

    def _nearest(self, patches: Tensor, halves: Tensor) -> Tensor:
        return torch.addmm(halves, patches - self.origin, self.centred.T).max(1).indices


def _squares(patches: Tensor, nearest: Tensor) -> Tensor:
    return (patches - nearest).square().sum(1)


def padim_maps(levels: Sequence[Tensor], epsilon: float, size: int) -> Tensor:
    """PaDiM's maps of its training pictures, each by the Gaussians of the others.

    Args:
        levels: One (n, C, h, w) tensor a level, n at least 2.
        epsilon: Variance added to every direction.
        size: Side of the maps.
    """
    found = [left_out_gaussians(level, epsilon) for level in levels]
    maps = [upsample(grid, (size, size), align_corners=True) for grid in found]
    return smooth(torch.stack(maps).mean(0))
