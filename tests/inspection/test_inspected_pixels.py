"""An inspector reads pictures of many bits and many pixels as it read those it was fitted on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import adpt
import drawn
from adpt.data.transforms import Geometry
from adpt.errors import UserError
from adpt.inspection import UnreadImage
from adpt.inspection.onnx_file import describe
from adpt.predict import predict
from faults import claim
from runs import composed, rows, run_task

OPTIONS: dict[str, Any] = {
    "image_size": 48,
    "backbone": {"name": "efficientnet_lite0", "levels": [2, 3]},
    "device": "cpu",
}


def deep(path: Path, number: int, bits: int, defect: bool = False) -> Path:
    """A greyscale picture of 16-bit numbers that use some of their bits; its 8-bit twin."""
    grey = np.asarray(
        Image.fromarray(drawn.picture("bottle", number, defect=defect)[0]).convert("L")
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.round(grey * ((2**bits - 1) / 255)).astype(np.uint16)
    numbers[0, 0] = 2**bits - 1
    Image.fromarray(numbers).save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deep")
    for number in range(5):
        deep(folder / "good" / f"{number}.png", number, 12)
    deep(folder / "new" / "good.png", 7, 12)
    deep(folder / "new" / "bad.png", 8, 12, defect=True)
    return folder


@pytest.fixture(scope="module")
def inspector(folder: Path) -> adpt.Inspector:
    return adpt.Inspector.fit(folder / "good", **OPTIONS)


def test_the_good_images_decide_over_the_bits_in_use(
    folder: Path, inspector: adpt.Inspector, tmp_path: Path
) -> None:
    assert inspector.settings.bit_depth == 12
    assert describe(inspector._model)["bit_depth"] == "12"
    inspector.save(tmp_path / "m.safetensors")
    loaded = adpt.Inspector.load(tmp_path / "m.safetensors", "cpu")
    for made in (inspector, loaded):
        good, bad = (made.predict(folder / "new" / f"{name}.png") for name in ("good", "bad"))
        assert bad.score > good.score
        with Image.open(folder / "new" / "bad.png") as picture:
            assert made.predict(picture).score == bad.score
        # An array of its numbers, of the bits that the good images settled.
        with Image.open(folder / "new" / "bad.png") as picture:
            assert made.predict(np.asarray(picture).astype(np.uint16)).score == bad.score
        with pytest.raises(ValueError, match="4096 takes more than the 12 bits"):
            made.predict(np.full((9, 9), 4096, np.uint16))
    # What a picture of 8 bits that looks the same gives.
    with Image.open(folder / "new" / "bad.png") as picture:
        twin = np.round(np.asarray(picture) * (255 / 4095)).astype(np.uint8)
    assert inspector.predict(twin).score == inspector.predict(folder / "new" / "bad.png").score


def test_a_given_depth_goes_first_and_a_brighter_picture_is_named(
    folder: Path, inspector: adpt.Inspector, tmp_path: Path
) -> None:
    beyond = deep(tmp_path / "beyond.png", 1, 16)
    found = list(inspector.predict_many([beyond, folder / "new" / "good.png"]))
    assert isinstance(found[0], UnreadImage)
    assert "65535" in found[0].error
    assert "data.bit_depth=16" in found[0].error
    assert isinstance(found[1], adpt.inspection.Inspection)
    wide = adpt.Inspector.fit(folder / "good", bit_depth=16, **OPTIONS)
    assert wide.settings.bit_depth == 16
    assert isinstance(wide.predict(beyond).score, float)


def test_eight_bit_pictures_settle_nothing(tmp_path: Path) -> None:
    good = drawn.draw_mvtec(tmp_path) / "bottle/train/good"
    made = adpt.Inspector.fit(good, **OPTIONS)
    assert made.settings.bit_depth is None
    assert describe(made._model)["bit_depth"] == "null"


def test_a_file_of_before_takes_the_whole_range(inspector: adpt.Inspector, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    inspector.save(path)
    with safe_open(path, "pt") as file:
        header = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    content = json.loads(header["content"])
    del content["settings"]["bit_depth"]
    save_file(tensors, path, header | {"content": json.dumps(content)})
    assert adpt.Inspector.load(path, "cpu").settings.bit_depth == 16


def test_too_many_pixels_are_named_and_the_others_scored(
    folder: Path, inspector: adpt.Inspector, tmp_path: Path
) -> None:
    claim(tmp_path / "claim.png", 60_000)
    good = folder / "new" / "good.png"
    inspector.save(tmp_path / "m.safetensors")
    small = adpt.Inspector.load(tmp_path / "m.safetensors", "cpu", max_megapixels=0.002)
    for made, unread in ((inspector, [True, False]), (small, [True, True])):
        found = list(made.with_threshold(1.0).predict_many([tmp_path / "claim.png", good]))
        assert [isinstance(one, UnreadImage) for one in found] == unread
        assert "claims 60000x60000" in found[0].error


def test_the_command_takes_depth_and_pixels(folder: Path, tmp_path: Path) -> None:
    strip = tmp_path / "images" / "strip.png"
    strip.parent.mkdir()
    Image.new("L", (40_000, 1), 9).save(strip)
    claim(tmp_path / "images" / "claim.png", 60_000)
    deep(tmp_path / "images" / "good.png", 7, 12)
    config = composed(
        "predict", f"fit={folder}/good", f"images={tmp_path}/images", f"output_dir={tmp_path}/out",
        "device=cpu", "backbone.levels=[2,3]", "data.image_size=48", "data.resize=48",
        "data.bit_depth=13", "max_megapixels=50", "exit_code=false", "threshold=1000",
    )  # fmt: skip
    run_task(predict, config)
    written = {Path(row["path"]).name: row for row in rows(tmp_path / "out" / "scores.csv")}
    assert [bool(written[name]["score"]) for name in ("strip.png", "claim.png", "good.png")] == [
        True,
        False,
        True,
    ]
    assert "max_megapixels is 50" in written["claim.png"]["error"]
    for wrong in ("data.bit_depth=3", "max_megapixels=0"):
        config = composed("predict", f"fit={folder}/good", f"output_dir={tmp_path}", wrong)
        config.inspector = "m.safetensors"
        with pytest.raises(UserError, match=wrong):
            run_task(predict, config)


def test_a_picture_without_memory_ends_nothing(
    folder: Path, inspector: adpt.Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = Geometry.image

    def starving(geometry: Geometry, picture: Image.Image) -> torch.Tensor:
        if picture.width > 48:
            raise MemoryError
        return scale(geometry, picture)

    monkeypatch.setattr(Geometry, "image", starving)
    large = folder / "large.png"
    Image.new("L", (60, 60)).save(large)
    found = list(inspector.predict_many([large, folder / "new" / "good.png"]))
    assert [isinstance(one, UnreadImage) for one in found] == [True, False]
    assert "memory" in found[0].error
