"""What a method sees: own features, residual ones, and those through a projector in closed form."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import encode
import torch
from measure import Recipe
from products import GROUP_OF, PRODUCTS
from stored import Pictures, Product, load_product
from torch import Tensor

from adpt.pretraining import patch_labels
from adpt.projector import FeatureProjector
from adpt.projector.closed_form import ResidualMoments, fill

SHRINKAGE, LENGTH = 0.02, 0.3


@lru_cache(maxsize=256)
def moments_of(cache: Path, network: str, name: str) -> ResidualMoments:
    """Moments of one source product, each image of a kind weighing alike."""
    product = load_product(cache, network, name, **encode.LIMITS)
    moments = ResidualMoments([level.shape[1] for level in product.test.own])
    for part in (product.train, product.test):
        for level, (own, residual, scale) in enumerate(
            zip(part.own, part.residual, product.scale, strict=True)
        ):
            covered = patch_labels(part.masks, own.shape[-2:])[0].unflatten(0, (len(own), -1))
            for row, mask in enumerate(part.masks):
                patches = residual[row].flatten(1).T / scale
                if mask.any():
                    moments.add("anomalous", level, patches[covered[row]], 1.0)
                else:
                    moments.add("normal", level, patches, 1.0)
                    moments.add("projected", level, own[row].flatten(1).T, 1.0)
    return moments


@lru_cache(maxsize=64)
def projector_of(
    cache: Path, network: str, sources: Sequence[str], residual: bool
) -> FeatureProjector:
    """The projector of some source products, each weighing alike."""
    single = [moments_of(cache, network, name) for name in sources]
    widths = [single[0].mean("normal", level).shape[0] for level in range(3)]
    total = ResidualMoments(widths)
    for one in single:
        for kind in ("normal", "anomalous", "projected"):
            for level in range(len(widths)):
                weight = one.get_buffer(f"{kind}_weight_{level}")
                if weight > 0:
                    total.get_buffer(f"{kind}_{level}").add_(one.mean(kind, level))
                    total.get_buffer(f"{kind}_weight_{level}").add_(1)
    if residual:
        for level in range(len(widths)):
            for name in (f"_{level}", f"_weight_{level}"):
                total.get_buffer(f"projected{name}").copy_(total.get_buffer(f"normal{name}"))
    lengths = [LENGTH / 2**level for level in range(len(widths))] if residual else [1.0] * 3
    projector = FeatureProjector(
        widths,
        block="linear",
        start_at_identity=True,
        on_residuals=residual,
        scale_by_references=residual,
    )
    fill(projector, total, lengths, SHRINKAGE)
    return projector.eval()


def own(_: Product, pictures: Pictures) -> list[Tensor]:
    """The backbone's own features."""
    return pictures.own


def residual(_: Product, pictures: Pictures) -> list[Tensor]:
    """Less the nearest reference."""
    return pictures.residual


def through(projector: FeatureProjector) -> Recipe:
    """Through a projector, as `evaluate` does it."""

    @torch.no_grad()
    def recipe(product: Product, pictures: Pictures) -> list[Tensor]:
        if projector.on_residuals:
            return projector(pictures.residual, product.scale)
        return projector(pictures.own)

    return recipe


def sources_of(target: str) -> tuple[str, ...]:
    """All products of other groups than a target's."""
    return tuple(name for name in PRODUCTS if GROUP_OF[name] != GROUP_OF[target])
