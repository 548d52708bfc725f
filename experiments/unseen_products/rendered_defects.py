"""Features of a product's training images with defects rendered on them."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from encode import name_of, network_of, set_of
from measure import Recipe
from stored import Product, pictures
from torch import Tensor

from adpt.backbones import Backbone
from adpt.data.texture_defects import TextureDefects
from adpt.evaluation.defect_pool import DefectPool


@lru_cache(maxsize=1)
def backbone_of(network: str) -> Backbone:
    """A backbone, built once."""
    return network_of(network, Path(os.environ["SHARED"]))


def defects_of(
    product: Product, network: str, recipe: Recipe, batch_size: int, seed: int
) -> DefectPool:
    """A defect on each of a product's training images, as features of the kind a recipe makes.

    Residuals are taken as those of the image itself: a reference with a defect is compared with
    the other references.
    """
    data = set_of(product.name, Path(os.environ["SHARED"]))
    samples = {name_of(sample): sample for sample in data.samples}
    chosen = [samples[name] for name in product.train.names]
    names = {str(sample.image): name_of(sample) for sample in chosen}

    def convert(levels: list[Tensor], paths: Sequence[str]) -> list[Tensor]:
        stored = {
            "names": [names[path] for path in paths],
            "levels": levels,
            "labels": torch.ones(len(paths), dtype=torch.bool),
            "masks": torch.zeros(len(paths), 1, 1, dtype=torch.bool),
        }
        rows = list(range(len(paths)))
        return recipe(product, pictures(stored, rows, product.chosen, product.references))

    return DefectPool(
        chosen,
        data.geometry,
        backbone_of(network),
        TextureDefects(geometry=data.geometry),
        batch_size=batch_size,
        convert=convert,
        device=torch.device("cpu"),
        seed=seed,
    )
