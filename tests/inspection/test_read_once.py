"""A command decodes each picture once, and keeps copies of pictures within a bound of memory."""

import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import adpt
from adpt.inspection import Inspection, RegionRule, fitting, inputs
from adpt.inspection.answers import one_by_one
from adpt.inspection.good_page import write_good_page
from adpt.inspection.outputs import Outputs
from adpt.inspection.products import Products
from adpt.predict import predict
from runs import TINY_FIT, composed, run_task


def fit_and_predict(photos: Path, folder: Path, *further: str) -> None:
    config = composed(
        "predict",
        f"fit={photos}/train/good",
        f"images={photos}/test",
        "method=padim",
        "inspector=null",
        "backbone.levels=[2,3]",
        "data.image_size=48",
        "device=cpu",
        "exit_code=false",
        f"output_dir={folder}",
        *further,
    )
    run_task(predict, config)


def pictures(folder: Path) -> dict[str, object]:
    """Heatmaps, and the pictures on the pages."""
    found: dict[str, object] = {file.name: file.read_bytes() for file in folder.glob("heatmaps/*")}
    for page in ("good.html", "index.html"):
        found[page] = re.findall(r"data:image/jpeg;base64,[^\"]+", (folder / page).read_text())
    return found


@pytest.mark.parametrize(
    "further", [("heatmap_size=30",), (), ("heatmap_size=null", "heatmaps=anomalous")]
)
def test_each_file_is_decoded_once_and_shown_as_if_twice(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, further: tuple[str, ...]
) -> None:
    read: Counter[Path] = Counter()
    plain = inputs.read_image

    def counted(path: Path, *more):
        read[path] += 1
        return plain(path, *more)

    monkeypatch.setattr(inputs, "read_image", counted)
    fit_and_predict(photos, tmp_path / "kept", *further)
    every = {*photos.glob("train/good/*.png"), *photos.glob("test/*/*.png")}
    assert set(read) == every
    assert set(read.values()) == {1}
    monkeypatch.setattr(inputs, "_COPIES", 0)
    fit_and_predict(photos, tmp_path / "anew", *further)
    assert set(read.values()) == {3}
    shown = pictures(tmp_path / "kept")
    assert len(shown["good.html"]) == len(list(photos.glob("train/good/*.png")))
    assert shown == pictures(tmp_path / "anew")


def test_copies_are_of_the_good_images_that_are_shown(photos: Path) -> None:
    good = adpt.Inspector.fit(
        photos / "train/good",
        good_test=photos / "test/good",
        defects=photos / "test/scratch",
        copy_side=20,
        **TINY_FIT,
    ).good_images
    assert good is not None
    assert list(good.copies) == good.paths == sorted(map(str, photos.glob("test/good/*")))
    for path, (copy, size) in good.copies.items():
        assert max(copy.size) == 20
        assert size == Image.open(path).size[::-1]


def test_no_more_copies_are_kept_than_the_bounds_say(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_COPIES", 2)
    inspector = adpt.Inspector.fit(photos / "train/good", copy_side=20, **TINY_FIT)
    assert inspector.good_images is not None
    assert len(inspector.good_images.copies) == 2
    files = [tmp_path / f"{side}.png" for side in (40, 50)]
    for file in files:
        Image.new("RGB", (int(file.stem),) * 2).save(file)
    monkeypatch.setattr(inputs, "_COPIES", 2 * 3 * 40**2)

    def kept(**options) -> list[tuple[int, int] | None]:
        found = inspector.predict_many(files, **options)
        return [one.picture and one.picture.size for one in found]

    assert kept(batch_size=3) == [None, None]
    assert kept(batch_size=3, copy_side=None) == [(40, 40), None]
    assert kept(batch_size=1, copy_side=None) == [(40, 40), (50, 50)]
    assert kept(batch_size=8, copy_side=20) == [(20, 20), (20, 20)]
    with pytest.raises(ValueError, match=r"copy_side is -1: it must be at least 0"):
        kept(copy_side=-1)


def test_what_comes_one_by_one_has_copies_too_and_regions_as_asked_for(photos: Path) -> None:
    inspector = adpt.Inspector.fit(photos / "train/good", **TINY_FIT)
    files = sorted(photos.glob("test/scratch/*"))
    rule = RegionRule(mm_per_pixel=0.5)
    found = [one for _, one in one_by_one(Products.of_one(inspector), iter(files), rule, 20)]
    assert found
    for one in found:
        assert isinstance(one, Inspection)
        assert one.picture is not None
        assert max(one.picture.size) == 20
        assert one.regions
        assert all(region.area_mm2 == region.area * 0.25 for region in one.regions)


@pytest.mark.parametrize("stream", [False, True])
def test_no_copy_is_made_where_there_are_no_heatmaps(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    lines = "".join(f"{path}\n" for path in photos.glob("test/good/*"))
    further = ["images=-"] if stream else []
    copied = []
    plain = Outputs.add

    def noted(self: Outputs, result: Inspection, *more):
        copied.append(result.picture is not None)
        return plain(self, result, *more)

    monkeypatch.setattr(Outputs, "add", noted)
    for heatmaps in ("none", "anomalous"):
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        fit_and_predict(photos, tmp_path / heatmaps, f"heatmaps={heatmaps}", *further)
    half = len(copied) // 2
    assert copied == [False] * half + [True] * half
    assert half


def test_the_page_of_good_images_shows_tall_pictures_alike_from_copies_and_files(
    tmp_path: Path,
) -> None:
    drawn_with = np.random.default_rng(0)
    for number in range(4):
        pixels = drawn_with.integers(0, 256, (400, 250, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    inspector = adpt.Inspector.fit(tmp_path, copy_side=220, resize=64, **TINY_FIT)
    good = inspector.good_images
    assert good is not None
    assert len(good.copies) == 4
    pages = []
    for copies in (True, False):
        write_good_page(tmp_path / "page", inspector, good)
        pages.append((tmp_path / "page/good.html").read_text())
        if copies:
            good.copies.clear()
    assert pages[0] == pages[1]
