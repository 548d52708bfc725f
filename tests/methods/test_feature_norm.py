"""FeatureNorm against its definition."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from adpt.errors import UserError
from adpt.methods import FeatureNorm
from adpt.methods.maps import upsample

SIZE = (20, 26)


def draw(images: int, scale: float = 1.0, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 8, 8), (5, 4, 4), (7, 2, 2), (4, 1, 1)]
    return [torch.randn(images, *shape, generator=generator) * scale for shape in shapes]


def test_score_equals_the_definition_patch_by_patch() -> None:
    levels = draw(2)
    scores = FeatureNorm(SIZE).score(levels)
    for image in range(2):
        total = np.zeros(SIZE)
        for level in levels:
            _, height, width = level.shape[1:]
            patches = torch.zeros(1, height, width, dtype=torch.float64)
            for y in range(height):
                for x in range(width):
                    squares = sum(float(value) ** 2 for value in level[image, :, y, x])
                    patches[0, y, x] = math.sqrt(math.sqrt(squares) + 1) - 1
            total += upsample(patches, SIZE, align_corners=True)[0].numpy()
        expected = gaussian_filter(total / len(levels), 4)
        np.testing.assert_allclose(scores.maps[image], expected, rtol=1e-5)
        assert scores.image[image].item() == pytest.approx(expected.max(), rel=1e-5)


def test_score_keeps_its_digits_for_tiny_norms() -> None:
    level = torch.full((1, 4, 3, 3), 0.5e-6)
    maps = FeatureNorm(SIZE).score([level]).maps
    np.testing.assert_allclose(maps, 0.5e-6, rtol=1e-5)


def test_fit_reads_nothing() -> None:
    def never() -> Iterator[list[Tensor]]:
        pytest.fail("fit read its batches")
        yield []

    FeatureNorm(SIZE).fit(never())


def test_score_of_an_image_is_the_same_alone_and_in_a_batch() -> None:
    levels = draw(5)
    together = FeatureNorm(SIZE).score(levels)
    for image in range(5):
        alone = FeatureNorm(SIZE).score([level[image : image + 1] for level in levels])
        torch.testing.assert_close(alone.maps[0], together.maps[image], rtol=1e-6, atol=0)
        torch.testing.assert_close(alone.image[0], together.image[image], rtol=1e-6, atol=0)


def test_longer_features_score_higher() -> None:
    levels = draw(1)
    method = FeatureNorm(SIZE)
    assert bool(
        (method.score([2 * level for level in levels]).maps > method.score(levels).maps).all()
    )


def test_no_levels_is_refused() -> None:
    with pytest.raises(UserError, match="no levels"):
        FeatureNorm(SIZE).score([])


@pytest.mark.parametrize("size", [0, (3, 0), (1, 2, 3)])
def test_impossible_image_size_is_refused(size: object) -> None:
    with pytest.raises(ValueError, match="image_size"):
        FeatureNorm(size)  # type: ignore[arg-type]
