"""A region of interest: nothing outside of it counts, and it goes where the inspector goes."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from safetensors import safe_open

import adpt
import drawn
from adpt.errors import UserError
from adpt.predict import predict
from runs import TINY_FIT, composed, run_task


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = drawn.draw_mvtec(tmp_path_factory.mktemp("photos")) / "bottle"
    mask = np.zeros((48, 48), np.uint8)
    mask[:, :24] = 255
    Image.fromarray(mask).save(folder / "roi.png")
    return folder


METHODS = ["patchcore", "padim", "feature_norm"]


@pytest.fixture(scope="module", params=METHODS)
def inspector(photos: Path, request: pytest.FixtureRequest) -> adpt.Inspector:
    good = photos / "train" / "good"
    return adpt.Inspector.fit(good, roi=photos / "roi.png", method=request.param, **TINY_FIT)


def test_nothing_outside_changes_a_score(inspector: adpt.Inspector) -> None:
    pixels = drawn.picture("bottle", 2, size=48, defect=True)[0]
    found, noise = inspector.predict(pixels), np.random.default_rng(0)
    changed = pixels.copy()
    changed[:, 24:] = noise.integers(0, 256, changed[:, 24:].shape)
    again = inspector.predict(changed)
    assert again.score == found.score
    assert np.array_equal(again.map, found.map)
    assert (found.map[:, 24:] == 0).all()
    changed[:, :24] = noise.integers(0, 256, changed[:, :24].shape)
    assert inspector.predict(changed).score > found.score
    for region in inspector.with_threshold(-1.0).predict(changed).regions:
        assert region.box[2] <= 24


def test_nothing_outside_is_fitted(photos: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for path in sorted((photos / "train" / "good").iterdir()):
        pixels = np.array(Image.open(path).resize((48, 48)).convert("RGB"))
        drawn.save(pixels, tmp_path / "a" / path.name)
        pixels[:, 24:] = noise.integers(0, 256, pixels[:, 24:].shape)
        drawn.save(pixels, tmp_path / "b" / path.name)
    first, second = (
        adpt.Inspector.fit(tmp_path / name, roi=photos / "roi.png", **TINY_FIT) for name in "ab"
    )
    assert first.threshold == second.threshold
    assert first.settings == second.settings
    pixels = drawn.picture("bottle", 7, size=48)[0]
    assert first.predict(pixels).score == second.predict(pixels).score


@pytest.mark.parametrize("method", METHODS)
def test_it_lies_in_the_file_and_in_the_graph(method: str, photos: Path, tmp_path: Path) -> None:
    shallow = TINY_FIT | {"backbone": {"name": "efficientnet_lite0", "levels": [0]}}
    good = photos / "train" / "good"
    inspector = adpt.Inspector.fit(good, roi=photos / "roi.png", method=method, **shallow)
    path, pixels = tmp_path / "m.safetensors", drawn.picture("bottle", 2, size=48, defect=True)[0]
    inspector.save(path)
    loaded = adpt.Inspector.load(path, "cpu")
    found = inspector.predict(pixels)
    assert np.array_equal(loaded.predict(pixels).map, found.map)
    with safe_open(path, "pt") as file:
        assert file.metadata()["version"] == "2"  # adpt of before would pass over the region.
    loaded.export_onnx(tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    score_map, score, _ = session.run(None, {"images": pixels.transpose(2, 0, 1)[None]})
    assert float(score[0]) == pytest.approx(found.score, rel=1e-3)
    assert (score_map[0, :, 24:] == 0).all()


def test_a_file_without_one_is_as_before(photos: Path, tmp_path: Path) -> None:
    made = adpt.Inspector.fit(photos / "train" / "good", **TINY_FIT)
    made.save(tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        assert file.metadata()["version"] == "1"
        assert "interest" not in file.keys()  # noqa: SIM118


def test_the_command_takes_one_when_fitting_alone(photos: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    words = ["device=cpu", "backbone.levels=[2,3]", "data.image_size=48", f"output_dir={tmp_path}"]
    fit = [f"fit={photos}/train/good", f"inspector={model}", *words]
    run_task(predict, composed("predict", *fit, f"roi={photos}/roi.png"))
    inside = adpt.Inspector.load(model, "cpu").scorer.interest
    assert inside is not None
    assert inside.sum() == 48 * 24
    Image.new("L", (9, 9)).save(tmp_path / "black.png")
    for wrong, told in (("black.png", "black all over"), ("none.png", "roi=")):
        with pytest.raises(UserError, match=told):
            run_task(predict, composed("predict", *fit, f"roi={tmp_path}/{wrong}"))
