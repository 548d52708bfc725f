"""Inspectors of pictures that are not square."""

import json
import logging
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import adpt
import drawn
from adpt.errors import UserError
from adpt.inspection import UnreadImage
from adpt.inspection.sizes import proportionate
from adpt.inspection.spec import patch_of
from adpt.predict import predict
from runs import composed, run_task

CNN = {"name": "efficientnet_lite0", "levels": [1, 2]}
TRANSFORMER = {"name": "vit_tiny_patch16_224", "levels": [0], "pretrained": False}


def strips(folder: Path, count: int = 4, size: tuple[int, int] = (40, 100)) -> Path:
    """Pictures (width, height) in a folder."""
    folder.mkdir(parents=True)
    for number in range(count):
        picture = Image.fromarray(drawn.picture("bottle", number, size=96)[0]).resize(size)
        picture.save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("size", "multiple", "expected"),
    [
        ((50, 50), 16, [224, 224]),
        ((40, 100), 16, [560, 224]),
        ((100, 40), 14, [224, 560]),
        ((10, 100), 32, [1120, 224]),
        ((90, 100), 32, [256, 224]),
    ],
)
def test_the_size_has_the_proportions_of_the_pictures(
    size: tuple[int, int], multiple: int, expected: list[int], tmp_path: Path
) -> None:
    paths = sorted(strips(tmp_path / "good", 1, size).iterdir())
    assert proportionate(paths, multiple) == expected


def test_the_median_counts_and_what_differs_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders = strips(tmp_path / "a", 2), strips(tmp_path / "b", 1, (9, 9))
    paths = [path for folder in folders for path in folder.iterdir()]
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert proportionate([*paths, tmp_path / "broken.png"], 16) == [560, 224]
    assert "height by width from 1 to 2.5" in caplog.text
    # A camera that was held upright: the header says so.
    turned = Image.new("RGB", (100, 40))
    turned.getexif()[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=turned.getexif())
    assert proportionate([tmp_path / "turned.jpg"], 16) == [560, 224]


def test_a_backbone_says_the_side_of_its_patches() -> None:
    assert patch_of(TRANSFORMER) == 16
    assert patch_of(CNN) == 8
    assert patch_of(CNN | {"levels": [2, 3]}) == 16
    assert patch_of({"name": "efficientnet_lite0"}) == 32
    assert patch_of({"name": "dinov2_b", "image_size": "auto"}) == 14


@pytest.mark.parametrize("method", ["patchcore", "padim"])
@pytest.mark.parametrize(
    "backbone", [CNN | {"levels": [0]}, TRANSFORMER], ids=["cnn", "transformer"]
)
def test_file_and_graph_work_at_a_size_that_is_not_square(
    backbone: dict, method: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    good = strips(tmp_path / "good")
    made = adpt.Inspector.fit(
        good, method=method, backbone=backbone, image_size=[96, 48], device="cpu"
    )
    assert made.settings.image_size == (96, 48)
    made.save(tmp_path / "m.safetensors")
    loaded = adpt.Inspector.load(tmp_path / "m.safetensors", "cpu")
    assert loaded.settings == made.settings
    picture = Image.open(good / "0.png")
    found, again = made.predict(picture), loaded.predict(picture)
    assert found.score == again.score
    assert found.map.shape == (100, 40)
    assert np.array_equal(found.map, again.map)

    loaded.export_onnx(tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    pixels = made.geometry.image(picture)[None].numpy()
    score_map, score, _ = session.run(None, {"images": pixels})
    assert score_map.shape == (1, 96, 48)
    assert float(score[0]) == pytest.approx(found.score, rel=1e-3)
    assert json.loads(session.get_modelmeta().custom_metadata_map["image_size"]) == [96, 48]


def test_the_command_keeps_proportions_and_says_what_it_chose(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, model = strips(tmp_path / "good", 3), tmp_path / "m.safetensors"
    words = [f"fit={good}", f"inspector={model}", "device=cpu", "data.image_size=auto"]
    config = composed("predict", *words, "backbone.levels=[2,3]", f"output_dir={tmp_path}/out")
    with caplog.at_level(logging.INFO):
        run_task(predict, config)
    assert "images are scored at [560, 224] pixels (height, width)" in caplog.text
    loaded = adpt.Inspector.load(model, "cpu")
    assert loaded.settings.image_size == (560, 224)
    assert not isinstance(loaded.predict(good / "0.png"), UnreadImage)


def test_a_size_that_cannot_be_is_refused(tmp_path: Path) -> None:
    good = strips(tmp_path / "good", 2)
    for size, told in (
        ("large", "neither pixels nor 'auto'"),
        ([0, 5], "one positive side in pixels"),
    ):
        with pytest.raises(UserError, match=told):
            adpt.Inspector.fit(good, image_size=size, backbone=CNN, device="cpu")
    with pytest.raises(UserError, match="leave resize out"):
        adpt.Inspector.fit(good, image_size="auto", resize=300, backbone=CNN, device="cpu")
    with pytest.raises(UserError, match=r"side of 50 in image_size.*48 and 64"):
        adpt.Inspector.fit(good, image_size=[64, 50], backbone=TRANSFORMER, device="cpu")
