"""Both entries end to end, with every data module at tiny size."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import drawn
from adpt.evaluate import evaluate
from adpt.pretraining import Pretraining
from adpt.results import read_records
from adpt.train import train
from adpt.weights import load_projector, projector_metadata
from runs import evaluation, rows, run_task, training

SETS = {
    "realiad": ("data=realiad", ["audiojack"]),
    "mvtec": ("data=mvtec", ["bottle"]),
    "visa": ("data=visa", ["candle"]),
    "btad": ("data=btad", ["01", "02", "03"]),
    "mvtec3d": ("data=mvtec3d", ["bagel"]),
    "mpdd": ("data=mpdd", ["connector"]),
    "folder": ("data=folder", ["bottle"]),
}
METHODS = ["feature_norm", "padim", "patchcore"]
KINDS = ["own", "residual", "pretrained"]


def draw(name: str, folder: Path) -> Path:
    if name == "realiad":
        return drawn.draw_realiad(folder / name, views=2)
    return getattr(drawn, f"draw_{name}")(folder / name)


def assert_trained(folder: Path) -> Path:
    projector = folder / "projector.safetensors"
    assert load_projector(projector).channels == (40, 112)
    metrics = rows(folder / "metrics.csv")
    losses = [float(row["loss/total"]) for row in metrics if row["loss/total"]]
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    assert (folder / "checkpoints" / "last.ckpt").stat().st_size > 1000
    return projector


def assert_evaluated(folder: Path, set_name: str, classes: list[str]) -> None:
    records = read_records(folder / "results.jsonl")
    assert {(r.class_name, r.method, r.features) for r in records} == {
        (name, method, kind) for name in classes for method in METHODS for kind in KINDS
    }
    for record in records:
        assert record.dataset == set_name
        assert record.backbone == "efficientnet_lite0"
        assert all(0 <= value <= 1 for value in record.metrics.values())
        assert record.counts["test"] > record.counts["anomalous"] > 0
        assert len(record.references) == (0 if record.features == "own" else 2)
        assert (record.projector_sha256 is not None) == (record.features == "pretrained")
    assert len(rows(folder / "results.csv")) == len(records)
    drawn_pictures = 0
    for name in classes:
        for method in METHODS:
            there = folder / "heatmaps" / set_name / name.replace("/", "_") / method
            pictures = sorted(there.glob("*.png"))
            # Two evenly spread over the images, a missed one, a false alarm and a well found one.
            assert 2 <= len(pictures) <= 5
            drawn_pictures += len(pictures)
            for picture in pictures:
                with Image.open(picture) as image:
                    # Image, mask and three maps, 48 pixels each, 8 between them.
                    assert image.width == 5 * (image.height - 24) + 4 * 8
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == drawn_pictures
    assert all(name in page for name in classes)


@pytest.mark.parametrize("name", SETS)
def test_pretraining_and_evaluation_with_each_set(name: str, tmp_path: Path) -> None:
    option, classes = SETS[name]
    chosen = [option, f"data.root={draw(name, tmp_path)}"]
    run_task(train, training(tmp_path / "train", *chosen, "references.shots=[1,2]"))
    projector = assert_trained(tmp_path / "train")
    split = ["data.split=realiad_jsons"] if name == "realiad" else []
    run_task(evaluate, evaluation(tmp_path / "evaluate", *chosen, *split, f"projector={projector}"))
    assert_evaluated(tmp_path / "evaluate", name, classes)


def test_several_sets_as_one(tmp_path: Path) -> None:
    chosen = [
        "data=mixed",
        "+data@data.sets.own=folder",
        f"data.sets.own.root={draw('folder', tmp_path)}",
        "+data@data.sets.visa=visa",
        f"data.sets.visa.root={draw('visa', tmp_path)}",
    ]
    run_task(train, training(tmp_path / "train", *chosen))
    projector = assert_trained(tmp_path / "train")
    run_task(evaluate, evaluation(tmp_path / "evaluate", *chosen, f"projector={projector}"))
    assert_evaluated(tmp_path / "evaluate", "own+visa", ["own/bottle", "visa/candle"])


def test_drawn_sets(tmp_path: Path) -> None:
    root = tmp_path / "pretraining"
    sizes = ["data.normal=2", "data.anomalous=1", f"data.root={root}", "references.shots=[1]"]
    run_task(train, training(tmp_path / "train", "data=procedural", *sizes))
    projector = assert_trained(tmp_path / "train")
    assert (root / "realiad_512").is_dir()
    root = tmp_path / "downstream"
    sizes = ["data.train=3", "data.normal=1", "data.anomalous=2", f"data.root={root}"]
    chosen = ["data=procedural_downstream", *sizes, f"projector={projector}"]
    run_task(evaluate, evaluation(tmp_path / "evaluate", *chosen))
    classes = sorted(path.name for path in root.iterdir() if path.is_dir())
    assert len(classes) == 4
    assert_evaluated(tmp_path / "evaluate", "procedural_downstream", classes)


# ---- What a training run leaves behind ------------------------------------------------------


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    return drawn.draw_folder(tmp_path / "own", ("key",))


def test_the_projector_file_says_what_it_was_made_with(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules: list[Pretraining] = []
    begin = Pretraining.on_train_epoch_start
    monkeypatch.setattr(
        Pretraining, "on_train_epoch_start", lambda self: (modules.append(self), begin(self))[1]
    )
    chosen = ["data=folder", f"data.root={data_root}", "trainer.max_epochs=2", "seed=5"]
    run_task(train, training(tmp_path / "train", *chosen, "model=reference_scale"))
    path = tmp_path / "train" / "projector.safetensors"
    metadata = projector_metadata(path)
    assert metadata["backbone"] == "efficientnet_lite0"
    assert metadata["backbone_sha256"] == modules[0].backbone.fingerprint
    assert json.loads(metadata["channels"]) == [40, 112]
    assert metadata["epoch"] == "2"
    config = json.loads(metadata["config"])
    assert config["backbone"]["levels"] == [2, 3]
    assert config["data"]["root"] == str(data_root)
    assert config["data"]["seed"] == config["references"]["seed"] == config["seed"] == 5
    own, loaded = modules[0].projector.state_dict(), load_projector(path).state_dict()
    assert own.keys() == loaded.keys()
    assert all(torch.equal(own[name], loaded[name]) for name in own)
    assert (loaded["scale"] != 1).all()


def projector_of(folder: Path, data_root: Path, *overrides: str) -> dict[str, torch.Tensor]:
    config = training(folder, "data=folder", f"data.root={data_root}", *overrides)
    run_task(train, config)
    return load_projector(folder / "projector.safetensors").state_dict()


def equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_same_seed_same_projector_with_and_without_workers(data_root: Path, tmp_path: Path) -> None:
    first = projector_of(tmp_path / "1", data_root)
    assert equal(first, projector_of(tmp_path / "2", data_root, "data.num_workers=2"))
    assert not equal(first, projector_of(tmp_path / "3", data_root, "seed=1"))


def test_a_run_resumed_from_its_checkpoint_ends_as_if_uninterrupted(
    data_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = projector_of(tmp_path / "whole", data_root, "trainer.max_epochs=3")
    first = projector_of(tmp_path / "first", data_root, "trainer.max_epochs=1")
    last = tmp_path / "first" / "checkpoints" / "last.ckpt"
    resumed = projector_of(
        tmp_path / "resumed", data_root, "trainer.max_epochs=3", f"ckpt_path={last}"
    )
    assert equal(whole, resumed)
    assert not equal(whole, first)
    assert "a checkpoint of other options: trainer.max_epochs: 1 → 3." in caplog.text
    caplog.clear()
    projector_of(tmp_path / "first", data_root, "trainer.max_epochs=1", "ckpt_path=last")
    assert "other options" not in caplog.text


def test_evaluation_repeats_itself(data_root: Path, tmp_path: Path) -> None:
    found = []
    for name, seed in (("1", 0), ("2", 0), ("3", 1)):
        chosen = ["data=folder", f"data.root={data_root}", f"seed={seed}"]
        run_task(evaluate, evaluation(tmp_path / name, *chosen))
        found.append(read_records(tmp_path / name / "results.jsonl"))
    same, again, other = ([(r.metrics, r.references) for r in records] for records in found)
    assert same == again
    assert [r.features for r in found[0]] == ["own"] * 3 + ["residual"] * 3
    assert same[3][1] != other[3][1]
    # The references that a record names are those that any k-shot run of this seed uses.
    assert found[0][3].shots == 2
    assert all((data_root / path).is_file() for path in found[0][3].references)


# ---- Real images ----------------------------------------------------------------------------


@pytest.mark.skipif("ADPT_SHARED" not in os.environ, reason="ADPT_SHARED names no folder")
def test_real_images_and_weights(tmp_path: Path) -> None:
    shared = Path(os.environ["ADPT_SHARED"])
    chosen = [
        "backbone=mobilenetv2",
        f"backbone.weights={shared / 'weights' / 'mobilenetv2_100.safetensors'}",
        "backbone.levels=[2,3,4]",
        "data=folder",
        f"data.root={shared / 'data' / 'labelled'}",
        "data.image_size=96",
    ]
    small = ["model=reference_scale", "model.centre_images=2", "references.shots=[1,2]"]
    run_task(train, training(tmp_path / "train", *chosen, *small))
    projector = tmp_path / "train" / "projector.safetensors"
    assert load_projector(projector).channels == (32, 96, 320)
    few = ["data.classes=[cookie]", "method=[feature_norm,patchcore]", f"projector={projector}"]
    run_task(evaluate, evaluation(tmp_path / "evaluate", *chosen, *few))
    records = read_records(tmp_path / "evaluate" / "results.jsonl")
    assert len(records) == 6
    best = max(r.metrics["image_auroc"] for r in records if r.method == "patchcore")
    assert best > 0.6


@pytest.mark.parametrize("same", [True, False])
def test_records_tell_whether_the_projector_saw_the_images(
    data_root: Path, tmp_path: Path, same: bool, caplog: pytest.LogCaptureFixture
) -> None:
    run_task(train, training(tmp_path / "train", "data=folder", f"data.root={data_root}"))
    projector = f"projector={tmp_path / 'train' / 'projector.safetensors'}"
    root = data_root if same else drawn.draw_folder(tmp_path / "other", ("key",))
    chosen = ["data=folder", f"data.root={root}", projector, "method=feature_norm"]
    run_task(evaluate, evaluation(tmp_path / "evaluate", *chosen))
    records = read_records(tmp_path / "evaluate")
    assert {record.provenance["projector_saw_the_images"] for record in records} == {same}
    assert ("was trained on images that are evaluated here" in caplog.text) == same
