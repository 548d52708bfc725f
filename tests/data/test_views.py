"""Photometric views: torchvision's results, operation by operation."""

import pytest
import torch
from literal.input import seeded_views
from torch import Tensor
from torchvision.transforms.v2 import functional as V

from adpt.data import views
from adpt.data.views import PhotometricViews


def pictures() -> list[Tensor]:
    draws = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (3, 40, 56), dtype=torch.uint8, generator=draws)
    grey = noise[:1].expand(3, -1, -1).contiguous()
    # Pure and mixed colours at full strength: every border between sectors of the hues.
    pure = noise // 128 * 255
    return [noise, grey, pure, torch.zeros_like(noise), torch.full_like(noise, 255)]


def check(found: Tensor, expected: Tensor) -> None:
    assert torch.equal(found, found.to(torch.uint8).float())
    difference = (found - expected.float()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 1e-3


@pytest.mark.parametrize("image", pictures(), ids=["noise", "grey", "pure", "black", "white"])
@pytest.mark.parametrize("factor", [0.6, 0.93, 1.0, 1.4])
def test_brightness_contrast_and_saturation(image: Tensor, factor: float) -> None:
    for ours, theirs in (
        (views.brightness, V.adjust_brightness),
        (views.contrast, V.adjust_contrast),
        (views.saturation, V.adjust_saturation),
    ):
        check(ours(image.float(), factor), theirs(image, factor))


@pytest.mark.parametrize("image", pictures(), ids=["noise", "grey", "pure", "black", "white"])
@pytest.mark.parametrize("turn", [-0.1, -0.037, 0.0, 0.02, 0.1])
def test_hue(image: Tensor, turn: float) -> None:
    check(views.hue(image.float(), turn), V.adjust_hue(image, turn))


def test_hue_turned_by_thirds_moves_the_channels() -> None:
    image = pictures()[0].float()
    for turn, order in ((1 / 3, [2, 0, 1]), (-1 / 3, [1, 2, 0]), (1.0, [0, 1, 2])):
        assert (views.hue(image, turn) - image[order]).abs().max() <= 1


@pytest.mark.parametrize("image", pictures(), ids=["noise", "grey", "pure", "black", "white"])
@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.3, 2.0])
def test_blur(image: Tensor, sigma: float) -> None:
    check(views.gaussian_blur(image.float(), sigma), V.gaussian_blur(image, [9, 9], [sigma, sigma]))


def test_luma() -> None:
    image = pictures()[0]
    check(views.luma(image.float()), V.rgb_to_grayscale(image))


def test_views_are_those_of_torchvisions_transforms_at_the_same_seed() -> None:
    image = pictures()[0]
    for seed in range(60):
        found, expected = PhotometricViews()(image, seed), seeded_views(image, seed)
        difference = (found.int() - expected.int()).abs()
        # One operation may differ by 1 in rounding; contrast stretches that.
        assert difference.max() <= 3
        assert (difference > 0).float().mean() < 1e-3


def test_operations_leave_their_input_alone() -> None:
    image = pictures()[0].float()
    before = image.clone()
    for operation in (
        views.brightness,
        views.contrast,
        views.saturation,
        views.hue,
        views.gaussian_blur,
    ):
        operation(image, 0.7)
        assert torch.equal(image, before)
