"""Images, masks and score maps stay aligned through resize and crop."""

import numpy as np
import pytest
import torch
from PIL import Image

from adpt.data.transforms import Geometry
from adpt.errors import UserError

CASES = [
    # image_size, resize, original (height, width)
    (64, None, (64, 64)),
    (64, None, (90, 150)),
    (64, 80, (90, 150)),
    (64, 80, (150, 90)),
    (64, 64, (301, 200)),
    ([48, 96], None, (100, 70)),
    ([48, 64], [72, 100], (200, 120)),
    (224, 256, (60, 45)),
]


def blob(original: tuple[int, int], row: float, column: float) -> np.ndarray:
    """A soft spot at a place given as part of height and width."""
    rows, columns = np.mgrid[: original[0], : original[1]]
    spread = min(original) / 10
    distance = np.hypot(rows + 0.5 - row * original[0], columns + 0.5 - column * original[1])
    return np.exp(-((distance / spread) ** 2))


def centre(values: torch.Tensor) -> tuple[float, float]:
    values = values.double()
    rows = (torch.arange(values.shape[0]) + 0.5)[:, None]
    columns = torch.arange(values.shape[1]) + 0.5
    total = values.sum()
    return float((values * rows).sum() / total), float((values * columns).sum() / total)


@pytest.mark.parametrize(("size", "resize", "original"), CASES)
def test_result_has_the_configured_size(size, resize, original) -> None:
    geometry = Geometry(size, resize)
    expected = (size, size) if isinstance(size, int) else tuple(size)
    image = geometry.image(Image.new("RGB", original[::-1]))
    mask = geometry.mask(np.zeros(original, bool))
    assert (image.shape, image.dtype) == ((3, *expected), torch.uint8)
    assert (mask.shape, mask.dtype) == (expected, torch.bool)


@pytest.mark.parametrize(("size", "resize", "original"), CASES)
@pytest.mark.parametrize("place", [(0.5, 0.5), (0.42, 0.6)])
def test_mask_lies_on_the_defect(size, resize, original, place) -> None:
    spot = blob(original, *place)
    geometry = Geometry(size, resize)
    picture = Image.fromarray((spot * 255).round().astype(np.uint8)).convert("RGB")
    image = geometry.image(picture)[0] > 127
    mask = geometry.mask(spot > 0.5)
    assert (image & mask).sum() / (image | mask).sum() > 0.7
    offset = np.subtract(centre(image), centre(mask))
    assert np.abs(offset).max() < 0.75


@pytest.mark.parametrize(("size", "resize", "original"), CASES)
@pytest.mark.parametrize("place", [(0.5, 0.5), (0.42, 0.6)])
def test_map_laid_back_finds_the_defect_in_the_original(size, resize, original, place) -> None:
    spot = blob(original, *place)
    geometry = Geometry(size, resize)
    picture = Image.fromarray((spot * 255).round().astype(np.uint8)).convert("RGB")
    laid = geometry.lay_back(geometry.image(picture)[0].float(), original, fill=0.0)
    assert laid.shape == original
    offset = np.subtract(centre(laid), centre(torch.from_numpy(spot)))
    # Half a pixel of whichever grid is coarser.
    coarseness = max(1.0, min(original) / min(geometry.image_size))
    assert np.abs(offset).max() < 0.5 * coarseness


def test_squeezed_map_covers_the_whole_original() -> None:
    laid = Geometry(32).lay_back(torch.ones(32, 32), (50, 80))
    torch.testing.assert_close(laid, torch.ones(50, 80))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_maps_of_any_precision_are_laid_back_in_single(dtype: torch.dtype) -> None:
    scores = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)).to(dtype)
    laid = Geometry(32).lay_back(scores, (50, 80))
    assert laid.dtype == torch.float32
    assert torch.equal(laid, Geometry(32).lay_back(scores.float(), (50, 80)))


def test_unseen_border_is_filled() -> None:
    laid = Geometry(32, 64).lay_back(torch.ones(32, 32), (128, 256))
    seen = ~laid.isnan()
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    assert (int(rows.min()), int(rows.max())) == (32, 95)
    assert (int(columns.min()), int(columns.max())) == (96, 159)
    assert int(seen.sum()) == 64 * 64


@pytest.mark.parametrize("resize", [None, 40])
def test_over_a_smaller_copy_a_map_lies_as_over_a_picture_of_that_size(resize) -> None:
    scores = torch.rand(32, 32, generator=torch.Generator().manual_seed(0))
    laid = Geometry(32, resize).lay_back(scores, (200, 320), size=(50, 80))
    alone = Geometry(32, resize).lay_back(scores, (50, 80))
    torch.testing.assert_close(laid, alone, rtol=0, atol=0, equal_nan=True)


def test_same_size_is_left_alone() -> None:
    scores = torch.rand(32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Geometry(32).lay_back(scores, (32, 32)), scores)


def test_of_an_odd_border_the_smaller_part_is_above_and_at_the_left() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (19, 21, 3), dtype=np.uint8)
    geometry = Geometry(16, [19, 21])
    image = geometry.image(Image.fromarray(pixels)).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(image, pixels[1:17, 2:18])
    mask = pixels[..., 0] > 99
    np.testing.assert_array_equal(geometry.mask(mask).numpy(), mask[1:17, 2:18])
    laid = geometry.lay_back(torch.ones(16, 16), (19, 21), fill=0.0)
    assert [place.min().item() for place in laid.nonzero().T] == [1, 2]


@pytest.mark.parametrize(
    ("size", "resize"), [(0, None), (-3, None), ("224", None), ([1, 2, 3], None), (2.5, None),
                         (64, 0), (64, [64]), (64, 63), ([64, 32], [60, 60])]
)  # fmt: skip
def test_sizes_that_make_no_sense(size, resize) -> None:
    with pytest.raises(UserError, match=r"data\.(image_size|resize)"):
        Geometry(size, resize)


@pytest.mark.parametrize("original", [(1, 40_000), (40_000, 1), (3, 70_000)])
@pytest.mark.parametrize(("size", "resize"), [(128, 128), (64, 1000), ([48, 96], 500)])
def test_a_strip_is_not_scaled_as_a_whole(original, size, resize) -> None:
    geometry = Geometry(size, resize)
    picture = Image.new("RGB", original[::-1], (10, 20, 30))
    centre = tuple(side // 2 for side in original)
    mask = np.zeros(original, bool)
    mask[max(0, centre[0] - 50) : centre[0] + 50, max(0, centre[1] - 50) : centre[1] + 50] = True
    assert (geometry.image(picture) == torch.tensor([10, 20, 30])[:, None, None]).all()
    assert geometry.mask(mask).all()
    assert not geometry.mask(~mask).any()
    assert geometry.lay_back(torch.ones(geometry.image_size), original).shape == original


@pytest.mark.parametrize(("size", "resize"), [(64, 80), ([48, 64], 100), (200, 256), (16, 40)])
@pytest.mark.parametrize("original", [(90, 150), (301, 200), (33, 500)])
def test_scaling_the_centre_alone_gives_what_scaling_all_gives(
    size, resize, original, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 13, 3), dtype=np.uint8))
    picture = coarse.resize(original[::-1], Image.Resampling.BICUBIC)
    mask = np.kron(rng.random((30, 20)) > 0.5, np.ones((20, 30), bool))[: original[0], :500]
    mask = np.pad(mask, ((0, 0), (0, 500)))[:, : original[1]]
    geometry = Geometry(size, resize)
    whole, whole_mask = geometry.image(picture), geometry.mask(mask)
    monkeypatch.setattr("adpt.data.transforms._LARGEST_SCALED", 0)
    assert (geometry.image(picture).int() - whole.int()).abs().max() <= 2
    assert (geometry.mask(mask) != whole_mask).float().mean() < 0.01


def test_a_large_map_is_laid_back_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.rand(32, 32, generator=torch.Generator().manual_seed(0))
    geometry = Geometry(32, 40)
    whole = geometry.lay_back(scores, (130, 70))
    monkeypatch.setattr("adpt.data.transforms._STRIP", 500)
    torch.testing.assert_close(
        geometry.lay_back(scores, (130, 70)), whole, rtol=0, atol=0, equal_nan=True
    )


def test_some_rows_of_a_map_are_those_of_the_whole() -> None:
    scores = torch.rand(32, 32, generator=torch.Generator().manual_seed(0))
    geometry = Geometry(32, 40)
    whole = geometry.lay_back(scores, (130, 70), 0.0)
    parts = [
        geometry.lay_back(scores, (130, 70), 0.0, rows=slice(top, top + 7))
        for top in range(0, 130, 7)
    ]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("size", [(300, 410), (32, 32), (19, 21)])
def test_a_map_is_laid_back_bilinearly(size: tuple[int, int]) -> None:
    scores = torch.rand(32, 32, generator=torch.Generator().manual_seed(0))
    literal = torch.nn.functional.interpolate(
        scores[None, None].double(), size, mode="bilinear", align_corners=False
    )[0, 0]
    laid = Geometry(32).lay_back(scores, size)
    torch.testing.assert_close(laid.double(), literal, rtol=0, atol=1e-5)


def test_what_decides_over_pixels() -> None:
    assert Geometry([48, 64], [72, 100]).decides() == {
        "image_size": [48, 64],
        "resize": [72, 100],
        "bit_depth": {},
    }
    assert Geometry(64, 80).decides()["resize"] == 80
