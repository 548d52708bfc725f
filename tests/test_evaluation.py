"""Tables: what is recorded is not computed again, and one failure does not stop the rest."""

import re
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from adpt.errors import UserError
from adpt.evaluate import evaluate
from adpt.evaluation import DefectPool
from adpt.evaluation import evaluation as module
from adpt.evaluation.cells import Cell
from adpt.evaluation.evaluation import Evaluation
from adpt.methods import FeatureNorm, Scores
from adpt.projector import FeatureProjector
from adpt.results import Record, markdown_report, read_records
from adpt.results.budget import budget
from adpt.results.details import load_details
from adpt.running.interruption import Stopped
from adpt.weights import save_projector
from drawn import draw_folder
from runs import TINY_EVALUATION, command, evaluation, run_task

QUICK = ["method=[feature_norm,padim]", "heatmaps=0"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "own", ("bottle", "key"))


def config(root: Path, folder: Path, *overrides: str) -> DictConfig:
    return evaluation(folder, "data=folder", f"data.root={root}", *QUICK, *overrides)


def results(root: Path, folder: Path, *overrides: str) -> list[Record]:
    run_task(evaluate, config(root, folder, *overrides))
    return read_records(folder)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """The cells that are computed, in order."""
    done: list[tuple[str, str, str]] = []
    original = module.run_method

    def counted(method: Any, train: Any, tests: Any, **rest: Any) -> Any:
        done.extend((class_name, rest["name"], rest["kind"]) for class_name in tests)
        return original(method, train, tests, **rest)

    monkeypatch.setattr(module, "run_method", counted)
    return done


def projector(path: Path, seed: int = 0) -> Path:
    import torch

    torch.manual_seed(seed)
    save_projector(
        FeatureProjector((40, 112), num_heads=4, num_references=8),
        path,
        {"backbone": "efficientnet_lite0"},
    )
    return path


def comparable(records: list[Record]) -> dict[str | None, dict[str, float]]:
    assert len({record.cell for record in records}) == len(records)
    return {record.cell: record.metrics for record in records}


# ---- Recorded once --------------------------------------------------------------------------


def test_recorded_results_are_not_computed_again(
    root: Path, tmp_path: Path, computed: list[tuple[str, str, str]]
) -> None:
    first = results(root, tmp_path / "out")
    assert len(first) == len(computed) == 8
    computed.clear()
    assert results(root, tmp_path / "out") == first
    assert not computed


def test_a_run_shows_its_own_results_where_others_were_recorded_between(
    root: Path, tmp_path: Path, computed: list[tuple[str, str, str]]
) -> None:
    def shown(*overrides: str) -> tuple[list[str], list[str]]:
        records = results(root, tmp_path / "out", "method=[padim]", "heatmaps=1", *overrides)
        assert len({record.cell for record in records}) == len(records)
        lines = markdown_report(records, "Title").splitlines()
        rows = [line for line in lines if line.startswith(("| bottle", "| key", "| **mean"))]
        notes = [line for line in lines if "Earlier results are not shown" in line]
        return rows, [note.replace("\\", "") for note in notes]

    def heatmaps() -> dict[str, bytes]:
        folder = tmp_path / "out" / "heatmaps"
        return {str(path): path.read_bytes() for path in sorted(folder.rglob("*.png"))}

    first, nothing = shown()
    assert not nothing
    drawn = heatmaps()
    csv = (tmp_path / "out" / "results.csv").read_text().splitlines()
    other, (note,) = shown("backbone.levels=[1]")
    assert other != first
    assert heatmaps() != drawn
    assert "of backbone.levels=[2, 3]." in note
    computed.clear()
    again, (note,) = shown()
    assert again == first
    assert heatmaps() == drawn
    assert "of backbone.levels=[1]." in note
    assert (tmp_path / "out" / "results.csv").read_text().splitlines() == csv
    written = (tmp_path / "out" / "results.jsonl").read_bytes()
    assert shown()[0] == first
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == written
    assert not computed


def test_what_decides_over_a_result_computes_it_again(
    root: Path, tmp_path: Path, computed: list[tuple[str, str, str]]
) -> None:
    def again(*overrides: str) -> set[tuple[str, str, str]]:
        computed.clear()
        results(root, tmp_path / "out", *overrides)
        return set(computed)

    everything = again()
    assert again("method.padim.epsilon=0.1") == {c for c in everything if c[1] == "padim"}
    assert again("shots=3") == {c for c in everything if c[2] == "residual"}
    assert again("seed=1", "method=[padim]") == {c for c in everything if c[1] == "padim"}
    assert again("heatmaps=2", "data.num_workers=1") == set()
    made = projector(tmp_path / "one.safetensors")
    with_projector = again(f"projector={made}")
    assert {kind for *_, kind in with_projector} == {"pretrained"}
    projector(made, seed=1)
    assert again(f"projector={made}") == with_projector
    (root / "key" / "train" / "good" / "000.png").unlink()
    assert {name for name, *_ in again()} == {"key"}


def test_an_interrupted_run_goes_on_to_the_same_records(
    root: Path,
    tmp_path: Path,
    computed: list[tuple[str, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = comparable(results(root, tmp_path / "whole"))
    original = Evaluation._run_method

    def killed(self: Evaluation, *rest: Any) -> list[Record]:
        if len(computed) == 5:
            raise KeyboardInterrupt
        return original(self, *rest)

    computed.clear()
    with monkeypatch.context() as patched:
        patched.setattr(Evaluation, "_run_method", killed)
        with pytest.raises(KeyboardInterrupt):
            results(root, tmp_path / "out")
    assert len(read_records(tmp_path / "out")) == 5
    computed.clear()
    assert comparable(results(root, tmp_path / "out")) == whole
    assert len(computed) == 3


def test_the_record_leads_to_its_scores(root: Path, tmp_path: Path) -> None:
    for record in results(root, tmp_path / "out"):
        assert record.details is not None
        details = load_details(tmp_path / "out" / "details" / record.details)
        assert len(details.paths) == len(details.maps) == record.counts["test"]


def test_heatmaps_of_an_interrupted_run_show_all_kinds(root: Path, tmp_path: Path) -> None:
    results(root, tmp_path / "out", "features=[own]", "heatmaps=2")
    first = {path: path.stat().st_size for path in (tmp_path / "out").rglob("*.png")}
    assert first
    results(root, tmp_path / "out", "heatmaps=2")
    second = {path: path.stat().st_size for path in (tmp_path / "out").rglob("*.png")}
    assert sum(second.values()) / len(second) > sum(first.values()) / len(first)


def test_a_corrected_mask_and_a_new_projectors_patches_are_noticed(
    root: Path, tmp_path: Path, computed: list[tuple[str, str, str]]
) -> None:
    made = projector(tmp_path / "one.safetensors")
    options = [f"projector={made}", "tsne=[key]", "method=[feature_norm]"]
    results(root, tmp_path / "out", *options)
    picture = tmp_path / "out" / "tsne" / "folder" / "key.npz"
    first = picture.read_bytes()
    projector(made, seed=1)
    results(root, tmp_path / "out", *options)
    assert picture.read_bytes() != first
    computed.clear()
    mask = next((root / "key" / "ground_truth").rglob("*.png"))
    Image.fromarray(np.flipud(np.asarray(Image.open(mask)))).save(mask)
    results(root, tmp_path / "out", *options)
    assert {name for name, *_ in computed} == {"key"}


def test_a_folder_of_records_that_is_not_there_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere is not there"):
        results(root, tmp_path / "out", f"recorded={tmp_path / 'nowhere'}")


# ---- Failures -------------------------------------------------------------------------------


def test_one_failed_class_is_named_and_the_others_are_recorded(
    root: Path, tmp_path: Path, computed: list[tuple[str, str, str]]
) -> None:
    image = root / "bottle" / "test" / "good" / "000.png"
    content = image.read_bytes()
    image.write_bytes(content[:50])
    with pytest.raises(UserError, match=r"bottle: .*000\.png") as caught:
        results(root, tmp_path / "out")
    assert "all other results are recorded" in str(caught.value)
    assert {record.class_name for record in read_records(tmp_path / "out")} == {"key"}
    image.write_bytes(content)
    computed.clear()
    results(root, tmp_path / "out")
    assert {name for name, *_ in computed} == {"bottle"}


def test_one_failed_cell_leaves_the_rest(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Evaluation._run_method

    def failing(self: Evaluation, cells: Sequence[Cell], *rest: Any) -> list[Record]:
        if (cells[0].class_name, cells[0].method, cells[0].kind) == ("key", "padim", "own"):
            raise RuntimeError("out of memory")
        return original(self, cells, *rest)

    monkeypatch.setattr(Evaluation, "_run_method", failing)
    with pytest.raises(UserError, match="key, padim on own features: out of memory"):
        results(root, tmp_path / "out")
    assert len(read_records(tmp_path / "out")) == 7


def test_an_error_that_a_signal_brought_about_is_no_failed_cell(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self: Evaluation, cells: Sequence[Cell], *rest: Any) -> list[Record]:
        try:
            raise Stopped(signal.SIGTERM)
        finally:
            raise AttributeError("half made")

    monkeypatch.setattr(Evaluation, "_run_method", stopped)
    with pytest.raises(Stopped, match=r"by SIGTERM\. What is recorded is complete\. Go on"):
        results(root, tmp_path / "out")


class Coarse(FeatureNorm):
    """A method of one's own whose maps are not of its image_size."""

    def score(self, levels: list[Tensor]) -> Scores:
        maps = levels[0].mean(1)
        return Scores(maps, maps.amax((1, 2)))


def test_maps_of_a_wrong_size_are_told_once_with_the_class_that_made_them(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = [f"+method.coarse._target_={__name__}.Coarse", "+method.coarse._partial_=true"]
    size = "+method.coarse.image_size=${data.image_size}"
    with pytest.raises(UserError, match="4 of the steps failed") as caught:
        results(root, tmp_path / "out", *words, size, "method=[]")
    (line,) = str(caught.value).splitlines()[1:]
    where, said = line.split(f": {__name__}.Coarse.score gives maps ")
    assert len(where.split("; ")) == 4
    assert "bottle, coarse on own features; " in where
    assert re.match(r"\(\d+, 6, 6\) and image scores \(\d+,\), where .* \(B, 48, 48\)", said)
    assert len([one for one in caplog.records if one.levelname == "ERROR"]) == 1


@pytest.fixture
def sweep(root: Path, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    def run(*overrides: str) -> tuple[int, str]:
        done = command(
            "evaluate", "-m", *TINY_EVALUATION, "data=folder", "method=[feature_norm]",
            "hydra.sweep.dir=table", "hydra.sweep.subdir=${hydra.job.num}", *overrides,
            cwd=tmp_path, timeout=300,
        )  # fmt: skip
        return done.returncode, done.stderr

    return run


def test_a_failed_job_of_a_sweep_is_reported_at_the_end_and_does_not_stop_it(
    root: Path, tmp_path: Path, sweep: Callable[..., tuple[int, str]]
) -> None:
    jobs = f"data.root={tmp_path / 'nowhere'},{root}"
    code, said = sweep(jobs)
    assert code == 1
    assert "1 of the sweep's jobs failed" in said
    assert f"0: There is no folder {tmp_path / 'nowhere'}" in said
    assert "Traceback" not in said
    assert len(read_records(tmp_path / "table")) == 4
    shutil.copytree(root, tmp_path / "nowhere")
    code, said = sweep(jobs)
    assert (code, len(read_records(tmp_path / "table"))) == (0, 8)
    assert "failed" not in said


# ---- Settings -------------------------------------------------------------------------------


def test_few_shot_fits_on_the_references_alone(root: Path, tmp_path: Path) -> None:
    for record in results(root, tmp_path / "out", "few_shot=true", "shots=2"):
        assert record.setting["few_shot"] is True
        assert record.counts["train"] == record.shots == len(record.references) == 2


def test_settings_are_recorded_and_change_the_results(root: Path, tmp_path: Path) -> None:
    plain = results(root, tmp_path / "plain", "features=[residual]")
    for option, name, value in (
        ("aligned=3", "aligned", 3),
        ("data.train_fraction=0.5", "train_fraction", 0.5),
        ("data.noise_ratio=0.34", "noise_ratio", 0.34),
    ):
        made = results(root, tmp_path / name, "features=[residual]", option)
        assert all(record.setting[name] == value for record in made)
        assert [r.metrics for r in made] != [r.metrics for r in plain]
    assert {name for record in plain for name in record.setting} == {"image_size"}


def test_options_out_of_range_are_refused_before_anything_is_encoded(
    root: Path, tmp_path: Path, computed: list[tuple[str, str, str]]
) -> None:
    for options, said in (
        (["shots=0"], "shots=0: a whole number of at least 1 is wanted"),
        (["aligned=0", "checks=-1"], r"aligned=0: .*\nchecks=-1: .* of at least 0 is wanted"),
        (["protocol=best"], "protocol=best: one of clean, paper is wanted"),
        (["defects.refresh=3"], "defects.refresh=3: a number of at least 0 and at most 1"),
        (["few_shot=maybe"], "few_shot=maybe: true or false is wanted"),
        (["seed=-1"], "seed=-1: a whole number"),
        (["seed=abc"], "seed=abc: a whole number"),
        (["tsne=[kay]"], "kay is no class in use; these are bottle, key"),
    ):
        with pytest.raises(UserError, match=said):
            results(root, tmp_path / "out", *options)
    assert not computed


# ---- Trained methods ------------------------------------------------------------------------

UNIAD = [
    "method=[uniad_quick]", "method.uniad.epochs=4", "checks=4", "features=[own]",
    "method.uniad.hidden_dim=16", "method.uniad.num_heads=2",
]  # fmt: skip


def test_one_model_for_all_classes_is_trained_once(
    root: Path, tmp_path: Path, computed: list[tuple[str, str, str]]
) -> None:
    made = results(root, tmp_path / "out", *UNIAD)
    assert [record.class_name for record in made] == ["bottle", "key"]
    assert len(computed) == 2
    for record in made:
        assert record.epochs == {"trained": 4}
        assert [entry["epoch"] for entry in record.history] == [1, 2, 3, 4]
        assert record.history[-1]["image_auroc"] == record.metrics["image_auroc"]
    assert not list((tmp_path / "out" / "unfinished").glob("*"))


def test_any_method_is_one_model_for_all_classes_where_it_is_asked_for(
    root: Path, tmp_path: Path, computed: list[tuple[str, str, str]]
) -> None:
    plain = ["method=[padim,patchcore]", "features=[own]"]
    own = results(root, tmp_path / "own", *plain)
    made = results(root, tmp_path / "all", *plain, "unified=true")
    assert len(computed) == 8
    assert [record.options for record in made] == [{"unified": True}] * 4
    assert budget(made) == ["unified"]
    assert [record.options for record in own] == [{}] * 4
    assert {record.class_name for record in made} == {"bottle", "key"}
    of_own = {(record.class_name, record.method): record.metrics for record in own}
    assert any(of_own[r.class_name, r.method] != r.metrics for r in made)
    separate = results(root, tmp_path / "one", *UNIAD, "unified=false")
    assert [record.options["unified"] for record in separate] == [False, False]


def test_the_paper_protocol_reports_the_best_epoch_of_each_metric(
    root: Path, tmp_path: Path
) -> None:
    for record in results(root, tmp_path / "out", *UNIAD, "protocol=paper"):
        assert record.protocol == "paper"
        for name, value in record.metrics.items():
            assert value == max(entry[name] for entry in record.history)
            at = next(e for e in record.history if e["epoch"] == record.epochs[name])
            assert at[name] == value


def test_defects_are_drawn_for_the_methods_that_train_on_them(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked: list[float] = []

    class Watched(DefectPool):
        def read(self, rows: Sequence[int]) -> tuple[list[Tensor], Tensor]:
            levels, masks = super().read(rows)
            marked.extend(masks.float().mean((1, 2)).tolist())
            return levels, masks

    monkeypatch.setattr(module, "DefectPool", Watched)
    glass = ["method=[glass_quick]", "method.glass.epochs=2", "features=[own,residual]"]
    found = results(root, tmp_path / "out", *glass, "data.classes=[key]")
    assert [record.epochs for record in found] == [{"trained": 2}] * 2
    # Six training images in two epochs of two kinds of features; not every defect shows.
    assert len(marked) == 24
    assert sum(share > 0 for share in marked) > 12
    assert max(marked) < 0.9
