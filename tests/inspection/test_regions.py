"""Defect regions: of hand-made score maps, and of drawn pictures as commands tell them."""

import json
import logging
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

import adpt
import drawn
from adpt.data.transforms import Geometry
from adpt.errors import UserError
from adpt.inspection.answers import NAMED, worst
from adpt.inspection.inspection import Inspection
from adpt.inspection.outputs import heatmap_over, thumbnail
from adpt.inspection.regions import Region, RegionRule, trace
from adpt.inspection.rows import Row
from adpt.predict import predict
from runs import composed, rows, run_task

EVERYTHING = RegionRule(of_peak=0.0, smallest=0.0)


def field(*spots: tuple[int, int, int, int, float], size: tuple[int, int] = (20, 30)) -> np.ndarray:
    """A map with rectangles (top, left, height, width, score)."""
    made = np.zeros(size, np.float32)
    for top, left, height, width, score in spots:
        made[top : top + height, left : left + width] = score
    return made


def shoelace(outline: list[tuple[int, int]]) -> float:
    x, y = np.array(outline, dtype=float).T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def test_a_region_has_place_size_and_scores() -> None:
    scores = field((2, 3, 4, 5, 2.0), (10, 20, 2, 2, 3.0))
    scores[2, 3] = 4
    first, second = EVERYTHING.find(scores, 0.0, (2.0, 3.0), (10.0, 0.0))
    assert first.box == (16, 6, 26, 18)
    assert set(first.outline) == {(16, 6), (26, 6), (26, 18), (16, 18)}
    assert (first.area, first.peak, first.area_mm2) == (20 * 6, 4.0, None)
    assert first.mean == pytest.approx((19 * 2 + 4) / 20)
    assert (second.box, second.area, second.mean) == ((50, 30, 54, 36), 24, 3.0)
    rule = RegionRule(of_peak=0.0, smallest=0.0, mm_per_pixel=0.5)
    assert rule.find(scores, 0.0, (2.0, 3.0))[0].area_mm2 == 30


def test_an_outline_surrounds_exactly_the_pixels_of_a_region_without_its_holes() -> None:
    generator, touch = np.random.default_rng(0), np.ones((3, 3))
    for _ in range(60):
        numbers, count = ndimage.label(generator.random((9, 14)) < generator.random(), touch)
        for number in range(1, count + 1):
            inside = numbers == number
            outline = trace(inside)
            assert shoelace(outline) == ndimage.binary_fill_holes(inside).sum()
            # Every corner is one: a side goes on in another direction.
            steps = np.sign(np.diff([*outline, outline[0]], axis=0))
            assert (steps != np.roll(steps, 1, axis=0)).any(axis=1).all()


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    scores = field((0, 0, 2, 2, 2.0), (2, 2, 2, 2, 2.0), (4, 5, 2, 2, 2.0))
    assert [one.area for one in EVERYTHING.find(scores, 0.0, (1, 1))] == [8, 4]


def test_pixels_are_above_a_share_of_the_peak_and_regions_of_a_size() -> None:
    scores = field((0, 0, 4, 4, 10.0), (10, 10, 4, 4, 4.0), (16, 0, 2, 2, 1.5))

    def found(**shares: float) -> int:
        return len(RegionRule(**{"smallest": 0.0, **shares}).find(scores, 0.0, (1, 1)))

    assert found(of_peak=0.0) == 3
    assert found(of_peak=0.3) == 2
    assert found(of_peak=0.4) == 1  # A score at the level is below it.
    assert found(of_peak=0.0, smallest=5 / scores.size) == 2
    # The share is taken from the median of good images on.
    assert len(RegionRule(of_peak=0.3, smallest=0).find(scores, 1.5, (1, 1))) == 1


def test_the_peak_is_a_region_however_low_and_small_it_is() -> None:
    scores = field((5, 5, 1, 1, 0.5))
    (only,) = RegionRule(of_peak=0.5, smallest=0.5).find(scores, 2.0, (1, 1))
    assert (only.box, only.peak) == ((5, 5, 6, 6), 0.5)
    (flat,) = EVERYTHING.find(np.ones((4, 4), np.float32), 1.0, (1, 1))
    assert flat.area == 16


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"of_peak": -1.0}, "regions.of_peak=-1"),
        ({"of_peak": float("nan")}, "regions.of_peak=nan"),
        ({"of_peak": 1.0}, "regions.of_peak=1.0 must be at least 0 and below 1"),
        ({"smallest": 1.5}, "regions.smallest=1.5"),
        ({"mm_per_pixel": 0.0}, "mm_per_pixel=0.0 must be above 0"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, float], told: str) -> None:
    with pytest.raises(UserError, match=told):
        RegionRule(**wrong)


@pytest.mark.parametrize("resize", [None, 40, (50, 60)])
def test_regions_lie_on_the_picture_as_its_map_does(resize: int | tuple[int, int] | None) -> None:
    geometry = Geometry((20, 30), resize)
    scores = field((4, 6, 9, 12, 5.0))
    original = (97, 133)
    (region,) = EVERYTHING.find(scores, 0.0, *geometry.place(original))
    laid = geometry.lay_back(torch.from_numpy(scores), original).numpy()
    inside = np.argwhere(laid > 2.5)
    left, top, right, bottom = region.box
    assert np.abs(inside.min(0) - (top, left)).max() <= 1
    assert np.abs(inside.max(0) + 1 - (bottom, right)).max() <= 1
    assert region.area == pytest.approx((right - left) * (bottom - top), rel=1e-3)


# ---- As commands tell them ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def inspector(photos: Path) -> adpt.Inspector:
    return adpt.Inspector.fit(
        photos / "train" / "good",
        image_size=48,
        backbone={"name": "efficientnet_lite0", "levels": [2, 3]},
        device="cpu",
        good_test=photos / "test" / "good",
        defects=photos / "test" / "scratch",
    )


def test_the_region_of_a_drawn_defect_overlaps_it(inspector: adpt.Inspector) -> None:
    pixels, mask = drawn.picture("bottle", 2, size=96, defect=True)
    found = inspector.predict(pixels)
    assert found.anomalous
    left, top, right, bottom = (round(side) for side in found.regions[0].box)
    assert mask[top:bottom, left:right].any()
    assert found.regions[0].peak == pytest.approx(float(found.map.max()), rel=0.05)
    assert inspector.predict(pixels, adpt.inspection.RegionRule(mm_per_pixel=2)).regions[
        0
    ].area_mm2 == pytest.approx(4 * found.regions[0].area)
    assert inspector.with_threshold(1e9).predict(pixels).regions == ()


def boxed(left: int, top: int, right: int, bottom: int) -> Inspection:
    """A wide picture, 120 by 40, with a region that is a rectangle."""
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    region = Region((left, top, right, bottom), corners, 1, 1, 1)
    return Inspection("a.png", 1, True, 0.5, np.zeros((40, 120), np.float32), (region,))


def lines_of(found: Inspection, size: tuple[int, int]) -> np.ndarray:
    """(H, W) where a line is in the heatmap over a black copy of the picture, (width, height)."""
    rendered = heatmap_over(Image.new("RGB", size), found, (0.0, 1.0))
    return (np.asarray(rendered) == (0, 229, 255)).all(axis=2)


@pytest.mark.parametrize(
    ("size", "width"), [((120, 40), 1), ((60, 20), 1), ((60, 40), 1), ((1200, 400), 2)]
)
def test_a_line_surrounds_a_region_on_a_copy_of_any_size(size: tuple[int, int], width: int) -> None:
    line = np.argwhere(lines_of(boxed(80, 10, 100, 20), size))
    across, down = size[0] / 120, size[1] / 40
    # The pixels of the corners are inside.
    assert line.min(0).tolist() == [10 * down - width, 80 * across - width]
    assert line.max(0).tolist() == [20 * down + width, 100 * across + width]


def test_a_line_follows_the_pictures_edge_where_a_region_leaves_it() -> None:
    found = lines_of(boxed(0, 0, 120, 40), (120, 40))
    expected = np.ones((40, 120), bool)
    expected[1:-1, 1:-1] = False
    assert np.array_equal(found, expected)


def test_a_thumbnail_is_the_picture_and_its_heatmap_beside_it() -> None:
    picture = Image.new("RGB", (120, 40), (200, 200, 200))
    sheet = Image.open(BytesIO(thumbnail(picture, boxed(80, 10, 100, 20), (0.0, 1.0))))
    pixels = np.asarray(sheet).astype(int)
    assert pixels.shape == (40, 240, 3)
    assert np.abs(pixels[:, :110] - 200).max() <= 3
    assert np.abs(pixels[:, 130:] - 200).min(2).mean() > 30


def test_the_tables_heatmap_and_page_tell_regions(
    inspector: adpt.Inspector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, new, out = tmp_path / "m.safetensors", tmp_path / "new", tmp_path / "out"
    inspector.save(model)
    pixels = drawn.picture("bottle", 2, size=96, defect=True)[0]
    drawn.save(pixels, new / "bad.png")
    drawn.save(drawn.picture("bottle", 1, size=96)[0], new / "good.png")
    (new / "broken.png").write_bytes(b"")

    def run(*more: str) -> None:
        words = [f"inspector={model}", f"images={new}", f"output_dir={out}", "device=cpu"]
        config = composed("predict", *words, "exit_code=false", "heatmap_format=png", *more)
        with caplog.at_level(logging.INFO):
            run_task(predict, config)

    run("regions.smallest=0")
    regions = inspector.predict(pixels, RegionRule(smallest=0)).regions
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert [len(line["regions"]) for line in lines] == [len(regions), 0, 0]
    assert [tuple(one["box"]) for one in lines[0]["regions"]] == [one.box for one in regions]
    assert set(lines[0]["regions"][0]) == {
        "box", "outline", "area", "area_mm2", "peak", "mean",
    }  # fmt: skip
    table = rows(out / "scores.csv")
    assert [row["regions"] for row in table] == [str(len(regions)), "", "0"]
    assert float(table[0]["largest"]) == max(one.area for one in regions)
    assert (table[0]["largest_mm2"], table[2]["largest"]) == ("", "")
    heatmap = np.asarray(Image.open(out / table[0]["heatmap"])).astype(int)
    line = np.argwhere((heatmap == (0, 229, 255)).all(axis=2))
    boxes = np.array([one.box for one in regions])
    assert np.abs(line.min(0) - boxes[:, [1, 0]].min(0)).max() <= 2
    assert np.abs(line.max(0) - boxes[:, [3, 2]].max(0)).max() <= 2
    assert f"{new}/bad.png (" in caplog.text
    assert f"{new}/good.png (" not in caplog.text

    run("mm_per_pixel=0.1", "regions.of_peak=0.9")
    (row,) = (row for row in rows(out / "scores.csv") if row["anomalous"] == "True")
    assert float(row["largest_mm2"]) == pytest.approx(float(row["largest"]) / 100)
    assert " mm²" in (out / "index.html").read_text()


def test_the_worst_images_are_named_first_and_a_few_only() -> None:
    found = [Row(f"{n}.png", float(n), None, n > 0, 0.5) for n in range(NAMED + 3)]
    lines = worst(found).splitlines()
    assert len(lines) == NAMED + 1
    assert lines[0].split() == [str(NAMED + 2), f"{NAMED + 2}.png"]
    assert "and 2 more" in lines[-1]
    assert worst(found[:1]) == ""
