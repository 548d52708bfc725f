"""What was left to try with closed forms: references, few directions, one matrix for all levels.

    SHARED=<folder of data/ and weights/> python experiments/unseen_products/closed_forms.py CACHE

Made of the products of the seven reported groups, measured on the five groups for choosing. Rows
go to closed_forms.csv beside this file; those that are there are not computed again. CACHE is
run.py's.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import encode
import torch
from measure import Recipe
from products import CHOOSING, GROUP_OF, PRODUCTS
from recipes import LENGTH, SHRINKAGE, Choice, joined, projector_of, residual, through
from run import CHEAP, LEVELS_ALONE, NETWORKS, ON_RESIDUALS, SIZES, Table, cell_of, quiet, scored
from stored import Pictures, Product, load_product
from torch import Tensor
from torch.nn import functional as F

from adpt.pretraining import patch_labels
from adpt.projector import FeatureProjector
from adpt.projector.moments import loudness

NETWORK = NETWORKS[0]
REFERENCES = (2, 4, 16)
"""Beside the 8 of all other tables."""
DIRECTIONS = (1, 4, 16)


def fewer(cache: Path, sources: Sequence[str], count: int) -> FeatureProjector:
    """The settled projector with so many directions of a level, all others alike."""
    projector = projector_of(cache, NETWORK, sources, ON_RESIDUALS)
    moments = joined(cache, NETWORK, tuple(sources))
    for level, share in enumerate(ON_RESIDUALS.shares):
        normal, anomalous = (moments.mean(kind, level) for kind in ("normal", "anomalous"))
        values, vectors = torch.linalg.eigh(
            loudness(normal, anomalous, ON_RESIDUALS.power, SHRINKAGE)
        )
        order = (values - values.mean()).abs().argsort(descending=True)
        values[order[count:]] = values[order[count:]].mean()
        matrix = vectors * values @ vectors.T
        matrix *= LENGTH * share / (matrix @ normal @ matrix).trace().sqrt()
        projector.get_parameter(f"blocks.{level}.linear.weight").data.copy_(matrix)
    return projector


def together(product: Product, pictures: Pictures) -> Tensor:
    """All levels on the finest grid, (N, ΣC, h, w), in the references' units, coarse ones less."""
    grid = pictures.residual[0].shape[-2:]
    parts = zip(pictures.residual, product.scale, ON_RESIDUALS.shares, strict=True)
    return torch.cat(
        [F.interpolate(x * (share / s), grid, mode="bilinear") for x, s, share in parts], 1
    )


def moments_together(cache: Path, sources: Sequence[str]) -> list[Tensor]:
    """Second moments of normal and of anomalous patches of all levels, sources weighing alike."""
    moments = [torch.zeros(()), torch.zeros(())]
    for name in sources:
        product = load_product(cache, NETWORK, name, **encode.LIMITS)
        found: list[list[Tensor]] = [[], []]
        for part in (product.train, product.test):
            for one, mask in zip(together(product, part), part.masks, strict=True):
                patches, kind = one.flatten(1).T, int(mask.any())
                if kind:
                    patches = patches[patch_labels(mask[None], one.shape[-2:])[0]]
                if len(patches):
                    found[kind].append(patches.T @ patches / len(patches))
        moments = [total + sum(s) / len(s) for total, s in zip(moments, found, strict=True)]
    return moments


def for_all(moments: Sequence[Tensor], power: float) -> Recipe:
    """One matrix for all levels together."""
    matrix = loudness(*(one.double() for one in moments), power, SHRINKAGE).float()

    def recipe(product: Product, pictures: Pictures) -> list[Tensor]:
        return [0.05 * torch.einsum("ck,nkhw->nchw", matrix, together(product, pictures))]

    return recipe


def main() -> None:
    """Try everything."""
    encode.main()
    quiet()
    cache, table = Path(sys.argv[1]), Table(Path(__file__).with_name("closed_forms.csv"))
    sources = [name for name in PRODUCTS if GROUP_OF[name] not in CHOOSING]
    closed: dict[str, Choice] = {"levels alone": LEVELS_ALONE, "closed form": ON_RESIDUALS}
    made = {
        name: through(projector_of(cache, NETWORK, sources, one)) for name, one in closed.items()
    }
    tried: dict[tuple[str, int], Recipe] = {
        (f"{name}, {shots} references", shots): recipe
        for name, recipe in ({"residual": residual} | made).items()
        for shots in sorted({*REFERENCES, 8})
    }
    for count in DIRECTIONS:
        tried[f"closed form, {count} directions a level", 8] = through(fewer(cache, sources, count))
    moments = moments_together(cache, sources)
    for power in (0, 0.25, 0.5):
        tried[f"one matrix for all levels, power {power}", 8] = for_all(moments, power)
    for (features, shots), recipe in tried.items():
        for name in (name for name in PRODUCTS if GROUP_OF[name] in CHOOSING):
            product = load_product(cache, NETWORK, name, **SIZES, shots=shots)
            for method in ("padim", "feature_norm"):
                cell = cell_of("further", NETWORK, name, method, features, "reported", 0)
                table.add(cell, partial(scored, CHEAP[method](0), recipe, product))


if __name__ == "__main__":
    main()
