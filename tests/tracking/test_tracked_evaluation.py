"""Pretraining and evaluation on W&B, offline: tables, files, and which run used which projector."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb

import drawn
from adpt.evaluate import evaluate
from adpt.results import pretraining_of, read_records
from adpt.running.whole_files import sha256
from adpt.tracking import use_projector
from adpt.tracking.results_log import comparable, results_table
from adpt.tracking.scatter import scatter
from adpt.train import train
from adpt.weights import ProjectorFile, find_projector
from recorded import a_record, three
from runs import evaluation, run_task, training
from wandb_files import OfflineRun, read_run, without_account

# ---- Tables -----------------------------------------------------------------------------------


def test_figures_are_means_over_classes_without_the_backbone_in_their_names() -> None:
    records = three((0.5, 0.6, 0.7)) + three((0.7, 0.8, 1.0), class_name="pcb2")
    found = comparable(records)
    of = "eval/visa/padim/image_auroc"
    assert found == pytest.approx(
        {f"{of}/own": 0.6, f"{of}/residual": 0.7, f"{of}/pretrained": 0.85, f"{of}/gain": 0.25}
    )
    other = comparable(three((0.1, 0.2, 0.3), backbone="dinov2_b"))
    assert other.keys() == found.keys()
    assert set(comparable([a_record("own", 0.5)])) == {f"{of}/own"}


def test_the_table_has_a_row_for_every_result_and_leaves_undefined_metrics_empty() -> None:
    metrics = {"image_auroc": float("nan"), "pixel_aupro": 0.5}
    records = [a_record("own", 0.25), a_record("pretrained", metrics=metrics)]
    table = results_table(records)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.data]
    assert [row["image_auroc"] for row in rows] == [0.25, None]
    assert [row["pixel_aupro"] for row in rows] == [None, 0.5]
    assert [row["features"] for row in rows] == ["own", "pretrained"]
    assert [row["projector"] for row in rows] == [None, "abababab"]


def test_scatter_shows_anomalous_points_on_top_and_keeps_proportions() -> None:
    points = np.array([[0.0, 0.0], [2.0, 1.0], [2.0, 1.0]])
    picture = scatter(points, np.array([False, True, False]), side=100)
    coloured = np.argwhere((picture != 255).any(-1))
    (top, left), (bottom, right) = coloured.min(0), coloured.max(0)
    assert right - left == pytest.approx(2 * (bottom - top), abs=6)
    red, green, blue = picture[top + 2, right - 2].tolist()  # the larger y is further up
    assert red > green
    assert red > blue


# ---- Runs -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny pretraining and an evaluation of its projector, both on W&B offline."""
    folder = tmp_path_factory.mktemp("tracked")
    root = drawn.draw_folder(folder / "own", ("key",))
    chosen = ["data=folder", f"data.root={root}", "logger=wandb", "logger.wandb.mode=offline"]
    projector = folder / "train" / "projector.safetensors"
    with pytest.MonkeyPatch.context() as patch, without_account(folder):
        patch.setenv("ADPT_CACHE", str(folder / "cache"))
        run_task(train, training(folder / "train", *chosen))
        few = ["method=feature_norm", "tsne=[key]", "shots=1", f"projector={projector}"]
        run_task(evaluate, evaluation(folder / "evaluate", *chosen, *few))
        yield folder


@pytest.fixture
def trained(folder: Path) -> OfflineRun:
    return read_run(folder / "train")


@pytest.fixture
def evaluated(folder: Path) -> OfflineRun:
    return read_run(folder / "evaluate")


def test_the_projector_is_an_artefact_that_says_what_it_is(
    folder: Path, trained: OfflineRun
) -> None:
    (artifact,) = trained.artifacts
    assert (artifact.type, artifact.name) == ("model", "projector-efficientnet_lite0")
    assert f"run-{trained.run.run_id}" in artifact.aliases
    metadata = json.loads(artifact.metadata)
    projector = find_projector(folder / "train" / "projector.safetensors")
    assert metadata["sha256"] == projector.sha256
    assert metadata["file"]["backbone_sha256"] == projector.metadata["backbone_sha256"]
    assert len(metadata["origin"]["config_sha256"]) == 64
    (file,) = artifact.manifest.contents
    assert file.path == "projector.safetensors"
    assert sha256(Path(file.local_path)) == projector.sha256


def test_an_offline_evaluation_names_the_artefact_of_its_projector(
    trained: OfflineRun, evaluated: OfflineRun
) -> None:
    name = f"adpt/projector-efficientnet_lite0:run-{trained.run.run_id}"
    assert evaluated.config["projector_artifact"] == name
    metadata = json.loads(trained.artifacts[0].metadata)
    assert evaluated.config["projector_sha256"] == metadata["sha256"]


def test_an_evaluation_logs_table_figures_pictures_and_files(
    folder: Path, evaluated: OfflineRun
) -> None:
    records = read_records(folder / "evaluate")
    (row,) = (row for row in evaluated.history if "eval/results" in row)
    assert row["eval/results"]["nrows"] == len(records) == 3
    for name, value in comparable(records).items():
        assert evaluated.summary[name] == pytest.approx(value)
        assert (name in row) == (name.split("/")[3] in ("image_auroc", "pixel_aupro"))
    assert evaluated.config["set"] == "folder"
    assert evaluated.config["backbone"]["name"] == "efficientnet_lite0"
    pictures = list((folder / "evaluate" / "heatmaps").rglob("*.png"))
    assert row["heatmaps/folder/key/feature_norm"]["count"] == len(pictures) > 2
    assert row["tsne/folder/key"]["_type"] == "image-file"
    assert row["tsne/folder/key/points"]["ncols"] == 4
    (artifact,) = evaluated.artifacts
    assert (artifact.type, artifact.name) == ("results", "results-folder-efficientnet_lite0")
    files = {file.path for file in artifact.manifest.contents}
    assert files == {"results.jsonl", "results.csv", "report.html"}


def test_records_tell_how_their_projector_was_pretrained(folder: Path) -> None:
    noted = [record.provenance["projector_pretraining"] for record in read_records(folder)]
    metadata = find_projector(folder / "train" / "projector.safetensors").metadata
    assert noted == [pretraining_of(metadata)] * 3
    assert noted[0]["seed"] == json.loads(metadata["config"])["seed"]


# ---- Lineage online, with a stand-in for the run ----------------------------------------------


class OnlineRun:
    offline = False

    def __init__(self, error: Exception | None = None) -> None:
        self.config: dict[str, Any] = {}
        self.used: list[tuple[str, str]] = []
        self.error = error

    def use_artifact(self, name: str, type: str) -> None:  # noqa: A002  # W&B's own name
        self.used.append((name, type))
        if self.error:
            raise self.error


@pytest.fixture
def projector(tmp_path: Path) -> ProjectorFile:
    path = tmp_path / "projector.safetensors"
    path.write_bytes(b"weights")
    note = {"artifact": "me/adpt/projector-clip_l:run-1", "sha256": sha256(path)}
    path.with_suffix(".wandb.json").write_text(json.dumps(note))
    return ProjectorFile(str(path), path, sha256(path), {})


def using(run: OnlineRun, projector: ProjectorFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adpt.tracking.artifacts.wandb_runs", lambda loggers: [run])
    use_projector([], projector)


def test_an_online_run_is_linked_to_the_artefact_of_its_projector(
    projector: ProjectorFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = OnlineRun()
    using(run, projector, monkeypatch)
    assert run.used == [("me/adpt/projector-clip_l:run-1", "model")]
    assert run.config["projector_artifact"] == run.used[0][0]


@pytest.mark.parametrize("note", [None, "no JSON", "[]", '{"artifact": "x:y", "sha256": "00"}'])
def test_a_projector_without_a_note_of_its_own_is_not_linked(
    projector: ProjectorFile, note: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = projector.path.with_suffix(".wandb.json")
    file.unlink() if note is None else file.write_text(note)
    run = OnlineRun()
    using(run, projector, monkeypatch)
    assert run.used == []
    assert run.config == {"projector_sha256": projector.sha256, "projector_artifact": None}


def test_an_artefact_that_was_not_sent_yet_is_a_warning(
    projector: ProjectorFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    using(OnlineRun(wandb.errors.CommError("not found")), projector, monkeypatch)
    assert "projector-clip_l:run-1" in caplog.text
    assert "wandb sync" in caplog.text
