"""What a method sees: own features, residual ones, and those through a projector in closed form."""

import copy
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import encode
import torch
from measure import Recipe
from products import GROUP_OF, PRODUCTS
from stored import Pictures, Product, load_product
from torch import Tensor

from adpt.pretraining import patch_labels
from adpt.projector import FeatureProjector
from adpt.projector.closed_form import ResidualMoments, fill

SHRINKAGE, LENGTH = 0.1, 0.3


class Choice(NamedTuple):
    """A projector in closed form: what it is given, and what is left open in it."""

    given: str
    power: float
    shares: tuple[float, ...]


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
def joined(cache: Path, network: str, sources: Sequence[str]) -> ResidualMoments:
    """Moments of some source products, each weighing alike."""
    single = [moments_of(cache, network, name) for name in sources]
    widths = [single[0].mean("normal", level).shape[0] for level in range(3)]
    total = ResidualMoments(widths)
    for one in single:
        for kind in ("normal", "anomalous", "projected"):
            for level in range(len(widths)):
                if one.get_buffer(f"{kind}_weight_{level}") > 0:
                    total.get_buffer(f"{kind}_{level}").add_(one.mean(kind, level))
                    total.get_buffer(f"{kind}_weight_{level}").add_(1)
    return total


def projector_of(
    cache: Path, network: str, sources: Sequence[str], choice: Choice
) -> FeatureProjector:
    """The projector of some source products."""
    moments = copy.deepcopy(joined(cache, network, tuple(sources)))
    levels = range(len(choice.shares))
    on_residuals = choice.given == "residual"
    for name in [f"{part}{level}" for part in ("_", "_weight_") for level in levels]:
        if on_residuals:
            moments.get_buffer(f"projected{name}").copy_(moments.get_buffer(f"normal{name}"))
    projector = FeatureProjector(
        [moments.mean("normal", level).shape[0] for level in levels],
        block="linear",
        start_at_identity=True,
        on_residuals=on_residuals,
        scale_by_references=on_residuals,
    )
    lengths = [LENGTH * share for share in choice.shares]
    fill(projector, moments, lengths, choice.power, SHRINKAGE)
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
