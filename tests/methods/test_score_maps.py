"""Upsampling and smoothing against interpolation by hand and SciPy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from adpt.errors import UserError
from adpt.methods import FeatureNorm, Scores
from adpt.methods.base import checked
from adpt.methods.maps import smooth, upsample


@pytest.mark.parametrize(("size", "sigma"), [((40, 57), 4.0), ((5, 9), 4.0), ((23, 1), 1.3)])
def test_smooth_equals_scipy_also_for_maps_smaller_than_the_kernel(
    size: tuple[int, int], sigma: float
) -> None:
    maps = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    expected = np.stack([gaussian_filter(one.double().numpy(), sigma) for one in maps])
    np.testing.assert_allclose(smooth(maps, sigma).numpy(), expected, atol=1e-6)


def test_smooth_defaults_to_four_pixels() -> None:
    maps = torch.rand(2, 30, 30)
    np.testing.assert_allclose(smooth(maps)[1], gaussian_filter(maps[1].numpy(), 4), atol=1e-5)


@pytest.mark.parametrize("align_corners", [True, False])
def test_upsample_equals_interpolation_by_hand(align_corners: bool) -> None:
    scores = torch.rand(2, 3, 5, dtype=torch.float64)
    height, width = 7, 11
    result = upsample(scores, (height, width), align_corners=align_corners)
    expected = np.empty((2, height, width))

    def neighbours(pixel: int, patches: int, pixels: int) -> tuple[int, int, float]:
        place = (
            pixel * (patches - 1) / (pixels - 1)
            if align_corners
            else (pixel + 0.5) * patches / pixels - 0.5
        )
        place = min(max(place, 0), patches - 1)
        low = min(int(place), patches - 2)
        return low, low + 1, place - low

    for y in range(height):
        for x in range(width):
            top, bottom, down = neighbours(y, 3, height)
            left, right, along = neighbours(x, 5, width)
            upper = scores[:, top, left] * (1 - along) + scores[:, top, right] * along
            lower = scores[:, bottom, left] * (1 - along) + scores[:, bottom, right] * along
            expected[:, y, x] = upper * (1 - down) + lower * down
    np.testing.assert_allclose(result, expected, atol=1e-12)


def test_scores_of_the_promised_shapes_are_let_through() -> None:
    scores = Scores(torch.rand(3, 5, 9), torch.rand(3))
    assert checked(FeatureNorm((5, 9)), scores) is scores


@pytest.mark.parametrize(
    ("maps", "image"), [((3, 9, 5), (3,)), ((3, 1, 5, 9), (3,)), ((3, 5, 9), (3, 1)), ((5, 9), ())]
)
def test_scores_of_other_shapes_are_refused(maps: tuple[int, ...], image: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"FeatureNorm\.score gives .* maps \(B, 5, 9\) and image"):
        checked(FeatureNorm((5, 9)), Scores(torch.rand(maps), torch.rand(image)))
