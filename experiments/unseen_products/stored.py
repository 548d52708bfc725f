"""Stored features: a product's own and residual levels."""

from dataclasses import dataclass
from pathlib import Path

import encode
import torch
from encode import places
from torch import Tensor

from adpt.residual import reference_scale, residual_features

SHOTS = 8


@dataclass
class Pictures:
    """Some of a product's images as a method gets them: levels of own and residual features."""

    names: list[str]
    own: list[Tensor]
    residual: list[Tensor]
    labels: Tensor
    masks: Tensor


@dataclass
class Product:
    """A product as it is tested.

    Attributes:
        chosen: Names of its references.
        references: Their own features, (k, T, C) a level.
        scale: (L,) mean length of the references' residuals.
    """

    name: str
    train: Pictures
    test: Pictures
    chosen: list[str]
    references: list[Tensor]
    scale: Tensor


def spread(rows: list[int], most: int) -> list[int]:
    """At most so many of some rows, evenly spaced."""
    return [rows[place] for place in places(len(rows), most)]


def load_product(
    cache: Path,
    network: str,
    name: str,
    *,
    train: int,
    good: int,
    defective: int,
    seed: int = 0,
    shots: int = SHOTS,
) -> Product:
    """Read a product, with its residuals against some references chosen by the seed."""
    stored = torch.load(cache / f"{network}.{name}.plain.pt", mmap=True)
    splits, labels = stored["splits"], stored["labels"].tolist()
    normal = [i for i, split in enumerate(splits) if split == "train"]
    tested = [
        [i for i, split in enumerate(splits) if split == "test" and labels[i] == label]
        for label in (0, 1)
    ]
    # Among those that a source has.
    training = spread(spread(normal, encode.LIMITS["train"]), train)
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(seed))
    chosen = [training[int(i)] for i in order[:shots]]
    references = [level[chosen].float().flatten(2).transpose(1, 2) for level in stored["levels"]]
    names = [stored["names"][i] for i in chosen]
    test = spread(tested[0], good) + spread(tested[1], defective)
    return Product(
        name,
        pictures(stored, training, names, references),
        pictures(stored, test, names, references),
        names,
        references,
        reference_scale(references),
    )


def pictures(
    stored: dict, rows: list[int], chosen: list[str], references: list[Tensor]
) -> Pictures:
    """Some stored images with their residuals; a reference is compared with the others."""
    names = [stored["names"][row] for row in rows]
    own = [level[rows].float() for level in stored["levels"]]
    residual = residual_features(own, [level.flatten(0, 1) for level in references])
    for position, name in enumerate(names):
        if name in chosen:
            rest = [k for k, other in enumerate(chosen) if other != name]
            one = [level[position : position + 1] for level in own]
            among = [level[rest].flatten(0, 1) for level in references]
            for level, made in zip(residual, residual_features(one, among), strict=True):
                level[position] = made[0]
    return Pictures(names, own, residual, stored["labels"][rows], stored["masks"][rows])
