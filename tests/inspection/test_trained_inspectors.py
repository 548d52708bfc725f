"""Inspectors of methods that are trained: fitted, left out, saved, loaded, exported."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch

import adpt
from adpt.data.transforms import Geometry
from adpt.errors import WeightsError
from adpt.evaluation.defect_pool import DefectPool
from adpt.inspection.defective import synthetic_defects
from adpt.inspection.fitting import TRAINED_FOLDS
from adpt.inspection.interest import blank
from adpt.inspection.model_file import read_model, write_model
from small import SmallBackbone

OPTIONS: dict[str, dict[str, Any]] = {
    "cflow": {"epochs": 2, "patches_per_step": 64, "learning_rate": 0.003},
    "dinomaly": {"epochs": 2, "num_heads": 8},
    "glass": {"epochs": 2, "embedding_dim": 16, "hidden_dim": 16, "ascent_steps": 5},
    "inp_former": {"epochs": 2, "num_heads": 8},
    "supersimplenet": {"epochs": 2},
    "uniad": {"epochs": 2, "hidden_dim": 16, "num_heads": 2, "num_layers": 1, "dropout": 0.0},
}
BACKBONE = {"name": "efficientnet_lite0", "levels": [2, 3]}


def fit(photos: Path, method: str, **options: Any) -> adpt.Inspector:
    return adpt.Inspector.fit(
        photos / "train" / "good", method=method, method_options=OPTIONS[method],
        backbone=BACKBONE, image_size=48, device="cpu", **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def inspectors(photos: Path) -> dict[str, adpt.Inspector]:
    return {method: fit(photos, method) for method in OPTIONS}


@pytest.mark.parametrize("method", OPTIONS)
def test_a_trained_inspector_is_loaded_as_it_was(method, inspectors, photos, tmp_path) -> None:
    made = inspectors[method]
    made.save(tmp_path / "m.safetensors")
    loaded = adpt.Inspector.load(tmp_path / "m.safetensors", device="cpu")
    assert loaded.settings == made.settings
    assert loaded.threshold == made.threshold
    for expected, found in zip(
        made.predict_many(photos / "test"), loaded.predict_many(photos / "test", 3), strict=True
    ):
        assert found.score == pytest.approx(expected.score, rel=1e-5)
        assert found.map.shape == expected.map.shape


def test_the_threshold_is_of_trainings_without_each_part(photos: Path) -> None:
    told: list[tuple[str, int, int]] = []
    made = fit(photos, "uniad", progress=lambda *step: told.append(step))
    assert f"left out in {TRAINED_FOLDS} parts in turn" in made.threshold_origin
    for part in range(1, TRAINED_FOLDS + 1):
        assert (f"epochs without part {part} of {TRAINED_FOLDS}", 2, 2) in told
    assert ("epochs", 2, 2) in told


@pytest.mark.parametrize("kind", ["own", "residual"])
def test_glass_trains_on_defects_drawn_on_the_good_images(photos, monkeypatch, kind) -> None:
    seen: list[tuple[int, bool]] = []
    plain = DefectPool.read

    def read(self: DefectPool, rows: Any) -> Any:
        levels, masks = plain(self, rows)
        seen.append((len(self.samples), bool(masks.any())))
        return levels, masks

    monkeypatch.setattr(DefectPool, "read", read)
    fit(photos, "glass", features=kind, shots=2)
    assert all(marked for _, marked in seen)
    assert {count for count, _ in seen} == {6, 4}


def test_defects_lie_within_the_region_of_interest(photos: Path) -> None:
    paths = [str(path) for path in sorted((photos / "train" / "good").iterdir())]
    inside = torch.zeros(48, 48, dtype=torch.bool)
    inside[:, :24] = True
    shown: list[torch.Tensor] = []

    class Watched(SmallBackbone):
        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            shown.append(images)
            return super().forward(images)

    pool = synthetic_defects(
        paths, Geometry(48), interest=inside, backbone=Watched(), convert=None, batch_size=3, seed=0
    )
    pool.start_epoch(0)
    masks = pool.read(range(6))[1]
    assert masks.any()
    assert not (masks & ~inside).any()
    for images in shown:
        assert torch.equal(images, blank(images, inside))


@pytest.mark.parametrize("method", OPTIONS)
def test_a_state_of_far_larger_modules_is_refused(method, inspectors, tmp_path) -> None:
    path = tmp_path / "m.safetensors"
    model = inspectors[method]._model
    shapes = model.scorer.method.get_buffer("level_shapes")
    options, former = model.settings.method_options, dict(model.settings.method_options)
    kept = shapes.clone()
    try:
        shapes[:, 0] = 60_000
        wide = {"cflow": {}, "glass": {"embedding_dim": 60_000}}
        options |= wide.get(method, {"hidden_dim": 60_000})
        write_model(model, path)
    finally:
        shapes.copy_(kept)
        options.clear()
        options |= former
    start = time.process_time()
    with pytest.raises(WeightsError, match=r"takes [\d,]+ bytes, and the state that says so has"):
        read_model(path, torch.device("cpu"))
    assert time.process_time() - start < 5


@pytest.mark.slow
@pytest.mark.parametrize("method", OPTIONS)
def test_the_graph_of_a_trained_inspector_scores_as_it_does(method, inspectors, tmp_path) -> None:
    # It compares maps and scores before the file is there.
    inspectors[method].export_onnx(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").stat().st_size > 100_000
