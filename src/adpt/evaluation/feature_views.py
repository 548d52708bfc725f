"""Views of `FeatureSet`s: some images, levels without the class token, several sets as one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from adpt.methods.feature_sets import FeatureSet


class Rows:
    """Some rows of a `FeatureSet`."""

    def __init__(self, source: FeatureSet, rows: Sequence[int]) -> None:
        self.source, self.rows = source, list(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """The levels of some images."""
        return self.source.read([self.rows[row] for row in rows])


class Patches:
    """A `FeatureSet` less its last level, the class token."""

    def __init__(self, source: FeatureSet) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """The levels of some images."""
        return self.source.read(rows)[:-1]


class Chained:
    """Several `FeatureSet`s, one after the other."""

    def __init__(self, sources: Sequence[FeatureSet]) -> None:
        self.sources = list(sources)
        self.places = [(n, row) for n, source in enumerate(sources) for row in range(len(source))]

    def __len__(self) -> int:
        return len(self.places)

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """The levels of some images."""
        places = [self.places[row] for row in rows]
        order = sorted(range(len(places)), key=lambda index: places[index][0])
        parts = []
        for number, source in enumerate(self.sources):
            own = [row for place, row in places if place == number]
            if own:
                parts.append(source.read(own))
        back = torch.tensor(order).argsort()
        return [torch.cat(levels)[back] for levels in zip(*parts, strict=True)]
