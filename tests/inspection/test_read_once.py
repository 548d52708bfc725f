"""A command decodes each picture once, and keeps copies of pictures within a bound of memory."""

import re
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

import adpt
import drawn
from adpt.inspection import fitting, inputs
from adpt.predict import predict
from runs import composed, run_task

OPTIONS = {
    "image_size": 48,
    "backbone": {"name": "efficientnet_lite0", "levels": [2, 3]},
    "device": "cpu",
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.draw_mvtec(tmp_path_factory.mktemp("photos")) / "bottle"


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


@pytest.mark.parametrize("further", [(), ("heatmap_size=null", "heatmaps=anomalous")])
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
        **OPTIONS,
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
    inspector = adpt.Inspector.fit(photos / "train/good", copy_side=20, **OPTIONS)
    assert inspector.good_images is not None
    assert len(inspector.good_images.copies) == 2
    files = [tmp_path / f"{side}.png" for side in (40, 50)]
    for file in files:
        Image.new("RGB", (int(file.stem),) * 2).save(file)
    monkeypatch.setattr(inputs, "_COPIES", 2 * 3 * 45**2)

    def kept(**options) -> list[tuple[int, int] | None]:
        found = inspector.predict_many(files, **options)
        return [one.picture and one.picture.size for one in found]

    assert kept(batch_size=3) == [None, None]
    assert kept(batch_size=3, copy_side=None) == [(40, 40), None]
    assert kept(batch_size=1, copy_side=None) == [(40, 40), (50, 50)]
    assert kept(batch_size=8, copy_side=20) == [(20, 20), (20, 20)]
    with pytest.raises(ValueError, match=r"copy_side is -1: it must be at least 0"):
        kept(copy_side=-1)
