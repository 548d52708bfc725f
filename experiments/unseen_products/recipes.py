"""What a method sees: own features, residual ones, and those through a projector in closed form."""

import itertools
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
from adpt.projector.moments import ResidualMoments, fill

SHRINKAGE, LENGTH = 0.1, 0.3


class Choice(NamedTuple):
    """A projector in closed form: what it is given, and what is left open in it."""

    given: str
    power: float
    shares: tuple[float, ...]


class Moments(ResidualMoments):
    """Also of the backbone's own features of normal patches, which may be projected instead."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__(channels)
        self.own = ResidualMoments(channels)


@lru_cache(maxsize=256)
def moments_of(cache: Path, network: str, name: str) -> Moments:
    """Moments of one source product, each image of a kind weighing alike."""
    product = load_product(cache, network, name, **encode.LIMITS)
    moments = Moments([level.shape[1] for level in product.test.own])
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
                    moments.own.add("normal", level, own[row].flatten(1).T, 1.0)
    return moments


@lru_cache(maxsize=64)
def joined(cache: Path, network: str, sources: Sequence[str]) -> Moments:
    """Moments of some source products, each weighing alike."""
    single = [moments_of(cache, network, name) for name in sources]
    widths = [single[0].mean("normal", level).shape[0] for level in range(3)]
    total = Moments(widths)
    for one in single:
        for added, to in ((one, total), (one.own, total.own)):
            for kind, level in itertools.product(("normal", "anomalous"), range(len(widths))):
                if added.get_buffer(f"{kind}_weight_{level}") > 0:
                    to.get_buffer(f"{kind}_{level}").add_(added.mean(kind, level))
                    to.get_buffer(f"{kind}_weight_{level}").add_(1)
    return total


def projector_of(
    cache: Path, network: str, sources: Sequence[str], choice: Choice
) -> FeatureProjector:
    """The projector of some source products."""
    moments = joined(cache, network, tuple(sources))
    levels = range(len(choice.shares))
    on_residuals = choice.given == "residual"
    projector = FeatureProjector(
        [moments.mean("normal", level).shape[0] for level in levels],
        block="linear",
        start_at_identity=True,
        on_residuals=on_residuals,
        scale_by_references=on_residuals,
    )
    lengths = [LENGTH * share for share in choice.shares]
    fill(projector, moments, lengths, choice.power, SHRINKAGE)
    if not on_residuals:  # What is projected is to be of these lengths.
        for level, length in enumerate(lengths):
            matrix = projector.get_parameter(f"blocks.{level}.linear.weight").data
            shown = moments.own.mean("normal", level).float()
            matrix *= length / (matrix @ shown @ matrix).trace().sqrt()
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
