"""An inspector as an ONNX graph: the same scores and decisions as PyTorch, or a clear refusal."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor

import adpt
import drawn
from adpt.backbones import build_backbone
from adpt.errors import UserError
from adpt.inspection import onnx_file
from adpt.inspection.inputs import picture_of
from adpt.inspection.scorer import Scorer
from adpt.methods import FeatureNorm, Scores, nearest_patches, patchcore
from adpt.predict import predict
from adpt.projector import FeatureProjector
from adpt.weights import save_projector
from runs import composed, run_task

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-data.md"

CNN = {"name": "efficientnet_lite0", "levels": [0, 1]}
TRANSFORMER = {"name": "vit_tiny_patch16_224", "levels": [0], "pretrained": False}
MOBILENET = {"name": "mobilenetv2", "levels": [0, 1, 2], "pretrained": False}
OPTIONS = {"patchcore": {"coreset_ratio": 0.3, "embedding_dim": 100}}
SIDE = 48

CASES = [("patchcore", "own", CNN), ("padim", "pretrained", TRANSFORMER)]
CASES_SLOW = [
    ("patchcore", "residual", TRANSFORMER),
    ("patchcore", "pretrained", CNN),
    ("padim", "own", MOBILENET),
    ("padim", "residual", CNN),
    ("feature_norm", "own", TRANSFORMER),
    ("feature_norm", "residual", CNN),
    ("feature_norm", "pretrained", MOBILENET),
]


def fitted(photos: Path, folder: Path, method: str, kind: str, backbone: Any) -> adpt.Inspector:
    """An inspector that takes some of the test images for anomalous and some not."""
    torch.manual_seed(0)
    path = None
    if kind == "pretrained":
        path = folder / "projector.safetensors"
        widths = build_backbone(**backbone, image_size=SIDE).channels
        save_projector(FeatureProjector(widths, 4, 8, scale_by_references=True), path)
    torch.manual_seed(1)
    made = adpt.Inspector.fit(
        photos / "train" / "good",
        method=method,
        method_options=OPTIONS.get(method),
        backbone=backbone,
        projector=path,
        features=kind,
        shots=2,
        image_size=SIDE,
        device="cpu",
    )
    scores = sorted(one.score for one in made.predict_many(photos / "test"))
    return made.with_threshold((scores[2] + scores[3]) / 2)


def pixels(inspector: adpt.Inspector, photos: Path) -> Tensor:
    """The six test images as the graph takes them."""
    files = sorted((photos / "test").rglob("*.png"))
    return torch.stack([inspector.geometry.image(picture_of(file)) for file in files])


def check(inspector: adpt.Inspector, path: Path, photos: Path) -> None:
    """Export, and compare what PyTorch gives before and after with what the file gives."""
    images = pixels(inspector, photos)
    before = inspector.scorer(images)
    inspector.export_onnx(path)
    maps, scores = inspector.scorer(images)
    assert torch.equal(maps, before.maps)
    assert torch.equal(scores, before.image)
    session = onnxruntime.InferenceSession(path)
    decided = []
    for batch in (slice(0, 1), slice(1, 4), slice(0, 5)):
        found = session.run(None, {"images": images[batch].numpy()})
        assert [part.dtype.name for part in found] == ["float32", "float32", "bool"]
        expected = maps[batch].numpy(), scores[batch].numpy()
        for ours, theirs, every in zip(expected, found[:2], (maps, scores), strict=True):
            # 1e-4 of the range that the scores of the six images have.
            assert np.abs(theirs - ours).max() <= 1e-4 * float(every.max() - every.min())
        assert found[2].tolist() == (expected[1] > inspector.threshold).tolist()
        decided += found[2].tolist()
    assert set(decided) == {True, False}


@pytest.mark.parametrize(("method", "kind", "backbone"), CASES)
def test_the_graph_scores_as_pytorch(method, kind, backbone, photos, tmp_path: Path) -> None:
    check(fitted(photos, tmp_path, method, kind, backbone), tmp_path / "m.onnx", photos)
    # All attention is in parts: its weights are in the body of a Scan.
    assert "Softmax" not in {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}


def test_a_large_bank_is_searched_in_few_dimensions(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest_patches, "_FEW_POINTS", 100)
    monkeypatch.setattr(patchcore, "_DIRECTIONS", 32)
    monkeypatch.setitem(OPTIONS, "patchcore", {"embedding_dim": 512})
    made = fitted(photos, tmp_path, "patchcore", "own", CNN)
    check(made, tmp_path / "m.onnx", photos)
    kept = [tuple(one.dims) for one in onnx.load(tmp_path / "m.onnx").graph.initializer]
    assert (512, 32) in kept
    assert any(shape[2:] == (33,) for shape in kept)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "kind", "backbone"), CASES_SLOW)
def test_every_other_graph_scores_as_pytorch(
    method, kind, backbone, photos, tmp_path: Path
) -> None:
    check(fitted(photos, tmp_path, method, kind, backbone), tmp_path / "m.onnx", photos)


@pytest.fixture(scope="module")
def inspector(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> adpt.Inspector:
    return fitted(photos, tmp_path_factory.mktemp("made"), "feature_norm", "residual", CNN)


@pytest.fixture(scope="module")
def exported(inspector: adpt.Inspector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made on the command line, with a threshold of one's own."""
    folder = tmp_path_factory.mktemp("exported")
    inspector.save(folder / "bottle.adpt.safetensors")
    given = [f"inspector={folder}/bottle.adpt.safetensors", f"export={folder}/bottle.onnx"]
    run_task(
        predict, composed("predict", *given, "threshold=0.1", "device=cpu", "output_dir=unused")
    )
    return folder / "bottle.onnx"


def test_the_file_says_what_a_user_needs_to_know(exported: Path, inspector) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["adpt"] == adpt.__version__
    assert json.loads(told["threshold"]) == 0.1
    assert told["threshold_origin"] == "given by the user"
    assert (told["method"], told["features"]) == ("feature_norm", "residual")
    assert told["backbone"] == "efficientnet_lite0"
    assert told["backbone_sha256"] == inspector.scorer.backbone.fingerprint
    assert (json.loads(told["image_size"]), json.loads(told["resize"])) == (SIDE, None)
    assert tuple(json.loads(told["normal_map"])) == inspector.settings.normal_map
    assert json.loads(told["fitted_on"]) == 6
    shapes = [
        (one.name, [side.dim_param or side.dim_value for side in one.type.tensor_type.shape.dim])
        for one in [*model.graph.input, *model.graph.output]
    ]
    assert shapes == [
        ("images", ["batch", 3, SIDE, SIDE]),
        ("map", ["batch", SIDE, SIDE]),
        ("score", ["batch"]),
        ("anomalous", ["batch"]),
    ]


def test_the_file_names_no_path_of_this_machine(exported: Path) -> None:
    assert str(Path(adpt.__file__).parent).encode() not in exported.read_bytes()


@pytest.mark.parametrize("size", [(90, 60), (47, 81)])
@pytest.mark.parametrize("resize", [None, 64, [70, 56]])
def test_the_example_gives_what_the_inspector_gives(
    resize, size, exported: Path, inspector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(inspector.settings, resize=resize)
    expecting = adpt.Inspector(replace(inspector._model, settings=settings))
    # Two inspectors that differ in this alone have graphs that differ in their metadata alone.
    model = onnx.load(exported)
    told = onnx_file.describe(expecting._model)["resize"]
    next(one for one in model.metadata_props if one.key == "resize").value = told
    onnx.save(model, tmp_path / "bottle.onnx")
    pixels = drawn.picture("bottle", 7, size=90, defect=True)[0]
    Image.fromarray(pixels).resize(size).save(tmp_path / "new.png")
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (example,) = [program for program in programs if "import onnxruntime" in program]
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102
    seen = expecting.geometry.image(Image.open("new.png"))
    assert np.array_equal(names["images"][0], seen.numpy())
    expected = expecting.predict("new.png")
    assert names["score"][0] == pytest.approx(expected.score, rel=1e-5)
    assert names["anomalous"][0] == (expected.score > 0.1)
    assert names["score_map"].shape == (1, SIDE, SIDE)


def test_a_model_on_a_gpu_is_traced_from_a_copy_on_the_cpu(inspector, photos, monkeypatch) -> None:
    model = inspector._model
    monkeypatch.setattr(
        Scorer,
        "device",
        property(lambda self: torch.device("cuda" if self is model.scorer else "cpu")),
    )
    copy = onnx_file._on_cpu(model)
    assert copy.scorer is not model.scorer
    assert (copy.settings, copy.threshold) == (model.settings, model.threshold)
    monkeypatch.undo()
    images = pixels(inspector, photos)
    assert torch.equal(copy.scorer(images).maps, inspector.scorer(images).maps)


def test_the_graph_of_a_backbone_in_bfloat16_computes_in_float32_and_says_so(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = fitted(photos, tmp_path, "feature_norm", "own", {**CNN, "precision": "bfloat16"})
    images = pixels(made, photos)
    halves = made.scorer(images).image
    made.save(tmp_path / "half.adpt.safetensors")
    loaded = adpt.Inspector.load(tmp_path / "half.adpt.safetensors", device="cpu")
    assert loaded.scorer.backbone.precision == "bfloat16"
    assert torch.equal(loaded.scorer(images).image, halves)
    with caplog.at_level("WARNING", "adpt"):
        made.export_onnx(tmp_path / "graph.onnx")
    assert "computes in float32, the inspector's backbone in bfloat16" in caplog.text
    told = {one.key: one.value for one in onnx.load(tmp_path / "graph.onnx").metadata_props}
    assert told["inspector_precision"] == "bfloat16"
    assert torch.equal(made.scorer(images).image, halves), "the inspector is as it was"
    made.scorer.backbone.precision = "float32"
    exact = made.scorer(images).image
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx")
    (score,) = session.run(["score"], {"images": images.numpy()})
    np.testing.assert_allclose(score, exact.numpy(), rtol=1e-4)
    assert not torch.equal(exact, halves)


@pytest.mark.parametrize("threshold", [0.1, 1 / 3, 2.0, -0.7, 1e30, np.nextafter(2.0, 3.0)])
def test_the_threshold_in_float32_decides_as_the_one_in_float64(threshold: float) -> None:
    near = np.float32(threshold)
    scores = [np.nextafter(near, np.float32(side)) for side in (-np.inf, np.inf)]
    kept = onnx_file._rounded_down(threshold).numpy()
    for score in [near, *scores]:
        assert (score > kept) == (float(score) > threshold)


def test_a_score_at_the_threshold_is_normal(
    exported: Path, inspector, photos: Path, tmp_path: Path
) -> None:
    images = pixels(inspector, photos)[:1].numpy()

    def found(model: Any) -> tuple[float, bool]:
        session = onnxruntime.InferenceSession(model.SerializeToString())
        _, score, anomalous = session.run(None, {"images": images})
        return float(score[0]), bool(anomalous[0])

    score, _ = found(onnx.load(exported))
    path = tmp_path / "m.onnx"
    inspector.with_threshold(score).export_onnx(path)
    model = onnx.load(path)
    assert found(model) == (score, False)
    # Graphs of inspectors that differ in this alone differ in one number.
    (held,) = [one for one in model.graph.initializer if one.name == "threshold"]
    below = np.nextafter(np.float32(score), np.float32(-np.inf))
    held.CopyFrom(onnx.numpy_helper.from_array(below, held.name))
    assert found(model) == (score, True)


def refused(inspector: adpt.Inspector, path: Path) -> str:
    """The message; what lay at the path is still there, and nothing beside it."""
    path.write_text("from before")
    with pytest.raises(UserError) as error:
        inspector.export_onnx(path)
    assert path.read_text() == "from before"
    assert list(path.parent.iterdir()) == [path]
    return str(error.value)


def test_without_the_extra_both_ways_name_it(inspector, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        onnx_file, "find_spec", lambda name: None if name == "onnxruntime" else name
    )
    assert refused(inspector, tmp_path / "m.onnx") == (
        "An export to ONNX needs onnxruntime: pip install 'adpt[onnx]'."
    )
    # Before anything is read or fitted: there is no such folder.
    with pytest.raises(UserError, match=r"pip install 'adpt\[onnx\]'"):
        run_task(predict, composed("predict", "fit=nowhere", "export=m.onnx", "output_dir=unused"))


def test_a_model_too_large_for_one_file_is_refused(inspector, tmp_path, monkeypatch) -> None:
    held = sum(level.nbytes for level in inspector.scorer.references.levels)
    state = sum(tensor.nbytes for tensor in inspector.scorer.state_dict().values())
    # The threshold's four bytes are part of the graph.
    monkeypatch.setattr(onnx_file, "_LARGEST", held + state + 3)
    assert "an ONNX file holds at most 2 GB" in refused(inspector, tmp_path / "m.onnx")


class Branching(FeatureNorm):
    """What the graph computes would depend on the values."""

    def score(self, levels: list[Tensor]) -> Scores:
        return super().score(levels[:1] if float(levels[0].sum()) > 0 else levels)


class Crooked(FeatureNorm):
    """Scores differ where a graph is traced."""

    def score(self, levels: list[Tensor]) -> Scores:
        maps, image = super().score(levels)
        return Scores(maps, image * 1.001 if torch.compiler.is_compiling() else image)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Branching, r"Branching with backbone 'efficientnet_lite0' cannot be exported to ONNX by "),
        (Crooked, r"The ONNX graph gives another score than PyTorch: .* Nothing was written"),
    ],
)
def test_what_cannot_be_a_graph_is_refused(method, message, inspector, tmp_path: Path) -> None:
    scorer = Scorer(inspector.scorer.backbone, method(SIDE), "own")
    made = adpt.Inspector(replace(inspector._model, scorer=scorer))
    assert re.match(message, refused(made, tmp_path / "m.onnx"))


def test_a_file_that_cannot_be_written_is_an_error_of_the_user(inspector, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write"):
        inspector.export_onnx(tmp_path / "file" / "m.onnx")
