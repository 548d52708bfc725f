"""Pictures have the right size, mark the right pixels and come out the same each time."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from adpt.errors import UserError
from adpt.page.plots import heatmap, outline, panel, save_png, score_range


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


GREY = np.full((4, 6, 3), 128, np.uint8)


def brightness(picture: np.ndarray) -> np.ndarray:
    return picture.astype(float).sum(axis=-1)


def test_heatmap_has_the_image_s_shape_and_is_the_same_each_time(image: np.ndarray) -> None:
    scores = np.linspace(0, 1, 600).reshape(20, 30)
    before = image.copy()
    first = heatmap(image, scores, 0, 1)
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, heatmap(image, scores, 0, 1))
    np.testing.assert_array_equal(image, before)


def test_heatmap_is_brighter_where_the_score_is_higher() -> None:
    scores = np.tile(np.linspace(0, 1, 6), (4, 1))
    row = brightness(heatmap(np.zeros_like(GREY), scores, 0, 1))[0]
    assert (np.diff(row) > 0).all()


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_image_stays_visible_under_any_score(score: float) -> None:
    image = GREY.copy()
    image[:, 3:] = 228
    drawn = brightness(heatmap(image, np.full((4, 6), score), 0, 1))
    assert drawn[0, 5] - drawn[0, 0] >= 0.25 * 300


def test_heatmap_is_that_of_the_formula_to_one_step_of_brightness(image: np.ndarray) -> None:
    scores = np.random.default_rng(1).normal(2, 3, (20, 30)).astype(np.float32)
    scores[0] = np.linspace(0, 5, 30)
    share = np.clip((scores.astype(np.float64) - 0) / 5, 0, 1)
    alpha = (0.25 + 0.45 * share)[..., None]
    colours = 255 * matplotlib.colormaps["inferno"](share)[..., :3]
    literal = (1 - alpha) * image.mean(axis=2, keepdims=True) + alpha * colours
    assert np.abs(heatmap(image, scores, 0, 5) - literal).max() <= 1


def test_heatmap_is_that_of_4096_shades_but_for_rounding(image: np.ndarray) -> None:
    scores = np.random.default_rng(1).normal(2, 3, (30, 20)).astype(np.float32).T
    turned = image[::-1, :, ::-1]
    shade = np.clip(np.floor(scores.astype(np.float64) / 5 * 4096), 0, 4095)
    share = (shade + 0.5) / 4096
    alpha = (0.25 + 0.45 * share)[..., None]
    colours = 255 * matplotlib.colormaps["inferno"](share)[..., :3]
    literal = (1 - alpha) * turned.mean(axis=2, keepdims=True) + alpha * colours
    assert np.abs(heatmap(turned, scores, 0, 5) - literal).max() <= 0.5001


def test_scores_outside_the_range_are_shown_as_its_ends() -> None:
    inside = heatmap(GREY, np.tile([0.0, 1.0], (4, 3)), 0, 1)
    beyond = heatmap(GREY, np.tile([-9.0, 9.0], (4, 3)), 0, 1)
    np.testing.assert_array_equal(inside, beyond)


def test_range_without_width_shows_nothing_standing_out() -> None:
    drawn = heatmap(GREY, np.arange(24).reshape(4, 6), 2, 2)
    assert (drawn == drawn[0, 0]).all()


@pytest.mark.parametrize(
    ("picture", "scores", "message"),
    [
        (GREY, np.zeros((6, 4)), r"\(4, 6, 3\) uint8 and \(6, 4\)"),
        (GREY[..., 0], np.zeros((4, 6)), r"\(4, 6\) uint8"),
        (GREY / 255, np.zeros((4, 6)), "float64"),
        (GREY, np.full((4, 6), np.nan), "nan or infinite"),
    ],
)
def test_heatmap_refuses_what_does_not_fit(
    picture: np.ndarray, scores: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        heatmap(picture, scores, 0, 1)


def test_score_range_is_two_quantiles_over_all_maps() -> None:
    maps = np.random.default_rng(0).permutation(1001).reshape(7, 11, 13)
    assert score_range(maps) == pytest.approx((500, 995))
    assert score_range(maps, 0.1, 0.9) == pytest.approx((100, 900))


def test_own_range_gives_maps_of_another_scale_the_same_colours(image: np.ndarray) -> None:
    scores = np.random.default_rng(1).random((20, 30)).astype(np.float32)
    larger = scores * 1024 + 4096
    drawn = [heatmap(image, maps, *score_range(maps)) for maps in (scores, larger)]
    assert np.abs(drawn[0].astype(int) - drawn[1]).max() <= 2


def test_outline_surrounds_the_mask_and_leaves_it_and_the_rest_alone(image: np.ndarray) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[8:12, 10:20] = 7
    drawn = outline(image, mask, (1, 2, 3), width=1)
    ring = np.zeros((20, 30), bool)
    ring[7:13, 9:21] = True
    ring &= mask == 0
    assert (drawn[ring] == (1, 2, 3)).all()
    np.testing.assert_array_equal(drawn[~ring], image[~ring])


def test_outline_follows_the_image_s_edge(image: np.ndarray) -> None:
    drawn = outline(image, np.ones((20, 30)), (1, 2, 3))
    assert (drawn[:2] == (1, 2, 3)).all()
    np.testing.assert_array_equal(drawn[2:-2, 2:-2], image[2:-2, 2:-2])


def test_outline_of_nothing_is_a_copy(image: np.ndarray) -> None:
    drawn = outline(image, np.zeros((20, 30)))
    np.testing.assert_array_equal(drawn, image)
    assert not np.shares_memory(drawn, image)


def test_panel_shows_pictures_side_by_side_under_captions(image: np.ndarray) -> None:
    image = image.repeat(2, 0).repeat(2, 1)
    mask = np.zeros((40, 60), bool)
    mask[10:18, 10:18] = True
    drawn = panel([("image", image), ("mask", mask)])
    height, width, _ = drawn.shape
    strip = height - 40
    gap = width - 120
    assert strip > 10
    assert gap > 0
    np.testing.assert_array_equal(drawn[strip:, :60], image)
    np.testing.assert_array_equal(drawn[strip:, -60:, 0], mask * 255)
    assert (drawn[strip:, 60:-60] == 255).all()
    for left in (0, 60 + gap):
        assert (drawn[:strip, left : left + 60] < 100).any()


def test_small_pictures_are_enlarged_until_no_caption_is_cut(image: np.ndarray) -> None:
    alone = panel([("pretrained features", image.repeat(9, 0).repeat(9, 1))])
    columns = (alone[:24] < 128).any(axis=(0, 2))
    drawn = panel([("own", image), ("pretrained features", image)])
    height, width, _ = drawn.shape
    scale = (height - 24) // 20
    assert width == 2 * 30 * scale + 8
    np.testing.assert_array_equal(drawn[24:, : 30 * scale], image.repeat(scale, 0).repeat(scale, 1))
    found = (drawn[:24, 30 * scale :] < 128).any(axis=(0, 2))
    assert found.sum() == columns.sum(), "the caption lost columns"
    assert 30 * (scale - 1) < len(np.trim_zeros(columns)) + 2


def test_panel_is_the_same_each_time_and_differs_by_caption(image: np.ndarray) -> None:
    first = panel([("own", image)])
    np.testing.assert_array_equal(first, panel([("own", image)]))
    assert (first != panel([("all", image)])).any()


def test_panel_refuses_none_and_unequal_pictures(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="one size"):
        panel([])
    with pytest.raises(ValueError, match=r"\(4, 6, 3\), \(20, 30, 3\)"):
        panel([("a", image), ("b", GREY)])


def test_png_holds_the_picture_and_is_the_same_each_time(tmp_path: Path, image: np.ndarray) -> None:
    for name in ("a", "b"):
        save_png(image, tmp_path / "new" / f"{name}.png")
    with Image.open(tmp_path / "new" / "a.png") as opened:
        assert opened.format == "PNG"
        np.testing.assert_array_equal(np.asarray(opened), image)
    first, second = (tmp_path / "new" / f"{name}.png" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_png_that_cannot_be_written_is_named(tmp_path: Path, image: np.ndarray) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/a\.png"):
        save_png(image, tmp_path / "file" / "a.png")
