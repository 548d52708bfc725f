"""Inspectors and tables whose backbone sees pictures through windows."""

import json
import logging
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import adpt
import drawn
from adpt.evaluate import evaluate
from adpt.methods import PerWindow
from adpt.predict import predict
from adpt.projector import FeatureProjector
from adpt.results import read_records
from adpt.weights import save_projector
from runs import TINY_EVALUATION, composed, run_task
from small import WIDTHS

CNN = {"name": "efficientnet_lite0", "levels": [2, 3]}
OPTIONS = {"patchcore": {"coreset_ratio": 0.3, "embedding_dim": 32}}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    for number in range(4):
        pixels = drawn.picture("bottle", number, size=96)[0]
        Image.fromarray(pixels).resize((96, 144)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("method", "aligned", "projected", "size", "exported"),
    [
        ("patchcore", True, False, [96, 64], False),
        ("padim", True, True, [96, 48], True),
        pytest.param("patchcore", False, True, [96, 64], True, marks=pytest.mark.slow),
        pytest.param("patchcore", True, False, [96, 64], True, marks=pytest.mark.slow),
    ],
)
def test_file_and_graph_see_what_the_inspector_sees(
    method: str, aligned: bool, projected: bool, size: list[int], exported: bool, good: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    torch.manual_seed(0)
    projector = None
    if projected:
        projector = tmp_path / "projector.safetensors"
        save_projector(FeatureProjector(WIDTHS, 4, 8), projector)
    made = adpt.Inspector.fit(
        good,
        method=method,
        method_options=OPTIONS.get(method),
        backbone=CNN,
        projector=projector,
        image_size=size,
        windows={"size": 48, "overlap": 0.5, "aligned": aligned},
        device="cpu",
    )
    assert isinstance(made.scorer.method, PerWindow) == (aligned and method == "patchcore")
    assert made.scorer.backbone(torch.zeros(1, 3, *size))[0].shape[-2:] == (12, size[1] // 8)
    made.save(tmp_path / "m.safetensors")
    loaded = adpt.Inspector.load(tmp_path / "m.safetensors", "cpu")
    assert loaded.settings == made.settings
    picture = Image.open(good / "0.png")
    found, again = made.predict(picture), loaded.predict(picture)
    assert found.map.shape == (144, 96)
    assert found.score == again.score
    assert np.array_equal(found.map, again.map)

    if not exported:
        return
    loaded.export_onnx(tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    pixels = made.geometry.image(picture)[None].numpy()
    score_map, score, _ = session.run(None, {"images": pixels})
    assert score_map.shape == (1, *size)
    assert float(score[0]) == pytest.approx(found.score, rel=1e-3)


def test_the_command_keeps_proportions_and_a_file_without_weights_finds_them(
    good: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "m.safetensors"
    words = [f"fit={good}", f"inspector={model}", "device=cpu", "data.image_size=auto"]
    words += [
        "backbone.levels=[2,3]",
        "method.patchcore.embedding_dim=32",
        f"output_dir={tmp_path}",
    ]
    words += ["windows.size=48", "windows.aligned=true", "backbone_weights=false"]
    with caplog.at_level(logging.INFO):
        run_task(predict, composed("predict", *words))
    # Two windows on the shorter side.
    assert "images are scored at [144, 96] pixels (height, width)" in caplog.text
    with safe_open(model, "pt") as file:
        assert not [name for name in file.keys() if name.startswith("backbone")]  # noqa: SIM118
        assert "/" not in json.loads(file.metadata()["content"])["settings"]["backbone"]["name"]
    loaded = adpt.Inspector.load(model, "cpu")
    assert isinstance(loaded.scorer.method, PerWindow)
    assert len(loaded.scorer.method.each) == 12


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["windows.size=48"], "data.image_size=[96, 96] or auto"),
        (["windows.size=50", "data.image_size=96"], "48 and 64"),
        (["windows.size=[48]", "data.image_size=96"], "number of pixels or [height, width]"),
        (["windows=48"], "windows.size, windows.overlap, windows.aligned"),
    ],
)
def test_windows_that_cannot_be_are_refused_before_images_are_read(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"fit={tmp_path}/none", f"inspector={tmp_path}/m.safetensors", "data.image_size=48"]
    given += ["backbone.levels=[2,3]", "device=cpu", f"output_dir={tmp_path}"]
    config = composed("predict", *given, *words)
    with pytest.raises(SystemExit):
        predict(config)
    assert told in capsys.readouterr().err


def test_a_table_names_the_windows_and_tells_them_apart(tmp_path: Path) -> None:
    root = drawn.draw_mvtec(tmp_path / "mvtec", ("bottle",))
    words = [*TINY_EVALUATION, "data=mvtec", f"data.root={root}", "data.image_size=96"]
    words += ["method=[patchcore,padim]", "features=[own,residual]", f"cache.folder={tmp_path}/c"]
    words += [f"output_dir={tmp_path}/out", "run_name=tiny", "method.patchcore.embedding_dim=32"]
    for more in (["windows.size=48", "windows.aligned=true"], ["windows.size=48"], []):
        run_task(evaluate, composed("evaluate", *words, *more))
    records = read_records(tmp_path / "out")
    assert len({record.cell for record in records}) == 12
    settings = [record.setting for record in records]
    assert [one.get("windows") for one in settings] == [48] * 8 + [None] * 4
    assert [one.get("aligned_windows") for one in settings] == [True] * 4 + [None] * 8
