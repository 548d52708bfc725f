"""Methods fitted on one set's classes and tested on another's, with references of each."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from adpt import Inspector
from adpt.cli.command_line import hydras_words
from adpt.errors import UserError
from adpt.evaluate import evaluate
from adpt.evaluation import choose_kinds
from adpt.evaluation import evaluation as module
from adpt.evaluation.features import Features
from adpt.methods.feature_sets import Labels
from adpt.results import Record, markdown_report, read_records
from adpt.results.budget import budget
from drawn import draw_folder
from runs import TINY_EVALUATION, command, evaluation, run_task

TRAINED = ["method=[padim]", "features=[residual]", "heatmaps=0"]
SMALL = ["train_data.image_size=48", "train_data.batch_size=6", "train_data.num_workers=0"]
RESAD = [
    "method=[resad_quick]", "method.resad.epochs=2", "method.resad.num_blocks=1", "checks=0",
    "features=[residual]", "heatmaps=0",
]  # fmt: skip


@pytest.fixture
def sets(tmp_path: Path) -> dict[str, Path]:
    return {
        "learned": draw_folder(tmp_path / "learned", ("board", "lid")),
        "tested": draw_folder(tmp_path / "tested", ("bottle", "key")),
    }


def config(sets: dict[str, Path], folder: Path, *overrides: str) -> DictConfig:
    learned = ["data@train_data=folder", f"train_data.root={sets['learned']}", *SMALL]
    return evaluation(folder, "data=folder", f"data.root={sets['tested']}", *learned, *overrides)


def results(sets: dict[str, Path], folder: Path, *overrides: str) -> list[Record]:
    run_task(evaluate, config(sets, folder, *overrides))
    return read_records(folder)


Fits = list[dict[str, Any]]


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Fits:
    """What each method was fitted on and what it was tested on, in order."""
    done: Fits = []
    original = module.run_method

    def watched(method: Any, train: Sequence[Features], tests: Any, **rest: Any) -> Any:
        paths = [Path(path) for features in train for path in features.paths]
        done.append({"train": paths, "tests": dict(tests), "defects": rest["defects"]})
        return original(method, train, tests, **rest)

    monkeypatch.setattr(module, "run_method", watched)
    return done


# ---- What is fitted on and what is tested ----------------------------------------------------


def test_one_model_is_fitted_on_all_classes_of_the_one_and_tested_on_each_of_the_other(
    sets: dict[str, Path], tmp_path: Path, fits: Fits
) -> None:
    made = results(sets, tmp_path / "out", *TRAINED)
    (fit,) = fits
    assert set(fit["train"]) == set(sets["learned"].glob("*/train/good/*"))
    assert list(fit["tests"]) == [record.class_name for record in made] == ["bottle", "key"]
    for record in made:
        assert record.setting["trained_on"] == "folder (board, lid)"
        assert record.counts["train"] == 12
        assert len(record.references) == record.shots == 2
        assert all(name.startswith(record.class_name) for name in record.references)
        assert budget([record]) == []
    assert "trained on folder (board, lid)" in markdown_report(made, "Title")


def test_references_are_the_usual_ones_and_no_other_training_image_is_read(
    sets: dict[str, Path], tmp_path: Path
) -> None:
    floor = ["method=[feature_norm]", "features=[residual]", "heatmaps=0"]
    plain = evaluation(tmp_path / "plain", "data=folder", f"data.root={sets['tested']}", *floor)
    run_task(evaluate, plain)
    usual = read_records(tmp_path / "plain")
    named = [name for record in usual for name in record.references]
    for image in sets["tested"].glob("*/train/good/*"):
        if str(image.relative_to(sets["tested"])) not in named:
            image.write_bytes(b"no image")
    made = results(sets, tmp_path / "out", *floor)
    assert [r.references for r in made] == [r.references for r in usual]
    assert [r.metrics for r in made] == [r.metrics for r in usual]
    # Aligned references are chosen among all of them.
    with pytest.raises(UserError, match=r"key: .*\.png"):
        results(sets, tmp_path / "out", *floor, "aligned=2")


def test_own_features_are_left_out_unless_asked_for() -> None:
    assert choose_kinds(None, None, cross_class=True) == ["residual"]
    assert choose_kinds(["own", "residual"], None, cross_class=True) == ["own", "residual"]


def test_methods_that_learn_from_labels_see_all_images_and_their_masks(
    sets: dict[str, Path], tmp_path: Path, fits: Fits
) -> None:
    made = results(sets, tmp_path / "out", *RESAD)
    (fit,) = fits
    labels = fit["defects"]
    assert isinstance(labels, Labels)
    assert sorted(fit["train"]) == sorted(sets["learned"].glob("*/t*/*/*"))
    marked = labels.read(range(len(fit["train"])))[1].flatten(1).any(1).tolist()
    assert marked == [path.parent.name != "good" for path in fit["train"]]
    assert [record.counts["train"] for record in made] == [24, 24]
    assert {record.epochs["trained"] for record in made} == {2}


# ---- Recorded once ---------------------------------------------------------------------------


def test_content_of_the_training_set_decides_and_its_place_does_not(
    sets: dict[str, Path], tmp_path: Path, fits: Fits
) -> None:
    made: list[Record] = []

    def again(*overrides: str) -> list[str]:
        fits.clear()
        made[:] = results(sets, tmp_path / "out", *TRAINED, *overrides)
        return [name for fit in fits for name in fit["tests"]]

    assert again() == ["bottle", "key"]
    sets["learned"] = sets["learned"].rename(tmp_path / "moved")
    assert again("train_data.num_workers=1", "train_data.held_out=[lid]") == []
    assert again("train_data.classes=[lid]") == ["bottle", "key"]
    report = markdown_report(made, "Title")
    assert "trained on folder (lid)" in report
    assert "trained on folder (board, lid)" in report
    assert "not shown" not in report
    (sets["learned"] / "lid" / "test" / "good" / "000.png").unlink()
    assert again() == ["bottle", "key"]
    # Another class of the tested set has no part in a class's results.
    (sets["tested"] / "key" / "test" / "good" / "000.png").unlink()
    assert again() == ["key"]


def test_an_interrupted_run_goes_on_where_it_was(
    sets: dict[str, Path], tmp_path: Path, fits: Fits
) -> None:
    one = results(sets, tmp_path / "out", *TRAINED, "data.classes=[key]")
    both = results(sets, tmp_path / "out", *TRAINED)
    assert [list(fit["tests"]) for fit in fits] == [["key"], ["bottle"]]
    assert [record for record in both if record.class_name == "key"] == one


# ---- Refused ---------------------------------------------------------------------------------


def test_images_in_both_sets_are_refused_by_class(sets: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(
        sets["tested"] / "key" / "test" / "good" / "000.png",
        sets["learned"] / "lid" / "train" / "good" / "copied.png",
    )
    with pytest.raises(UserError, match=r"in the classes lid \(as key\)"):
        results(sets, tmp_path / "out", *TRAINED)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["few_shot=true"], "few_shot=true cannot be with train_data"),
        (["protocol=paper"], "protocol=paper cannot be with train_data"),
        (["unified=false"], "unified=false cannot be with train_data"),
        (["data.image_size=64"], r"data.image_size is \(64, 64\) and train_data.image_size \(48"),
        (["train_data.root=nowhere"], r"Of train_data, .*: There is no folder nowhere"),
        (["train_data=visa"], "'override /data@train_data: visa' in the defaults of a file"),
        (["+train_data.clases=[lid]"], "train_data.clases.*did you mean train_data.classes"),
    ],
)  # fmt: skip
def test_what_does_not_suit_is_refused_with_its_option(
    sets: dict[str, Path], tmp_path: Path, options: list[str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        results(sets, tmp_path / "out", *TRAINED, *options)


def test_labels_that_are_not_there_are_named_and_other_methods_go_on(
    sets: dict[str, Path], tmp_path: Path
) -> None:
    words = [*RESAD, "method=[padim,resad_quick]", "train_data.masks=none"]
    with pytest.raises(UserError, match="resad on residual features: it learns from anomalous"):
        results(sets, tmp_path / "out", *words)
    assert {record.method for record in read_records(tmp_path / "out")} == {"padim"}


def test_without_another_set_such_methods_are_left_out_or_refused(
    sets: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = ["data=folder", f"data.root={sets['tested']}", "features=[own]", "heatmaps=0"]
    both = evaluation(tmp_path / "out", *plain, "method=[padim,resad_quick]")
    run_task(evaluate, both)
    assert {record.method for record in read_records(tmp_path / "out")} == {"padim"}
    assert "train_data names, such as train_data=visa: left out" in caplog.text
    with pytest.raises(UserError, match="resad: learned from labelled images"):
        run_task(evaluate, evaluation(tmp_path / "out", *plain, "method=resad"))


# ---- The command line ------------------------------------------------------------------------


def test_short_word_is_that_of_a_group() -> None:
    words = ["train_data=visa,btad", "train_data.root=/a=b", "data=mvtec", "-m", "seed=0,1"]
    assert hydras_words(words) == ["data@train_data=visa,btad", *words[1:]]
    words = ["metrics=[mad,aupimo]", "metrics.aupimo.lower=1e-4", "metric=mad", "title=metrics.x"]
    assert hydras_words(["metrics=null"]) == ["metric=[]"]
    assert hydras_words(words) == [
        "metric=[mad,aupimo]", "metric.aupimo.lower=1e-4", "metric=mad", "title=metrics.x"
    ]  # fmt: skip


def test_set_of_ones_own_files_sweeps_and_is_named_in_a_file(
    sets: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "conf"
    for name, lines in {
        "data/line3": [
            "defaults: [base, _self_]", "_target_: adpt.data.Folder", f"root: {sets['learned']}",
        ],
        "experiment/line3": [
            "# @package _global_", "defaults: [{override /data@train_data: line3}]",
        ],
    }.items():  # fmt: skip
        file = folder / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines))
    common = [*TINY_EVALUATION, "data=folder", f"data.root={sets['tested']}", *TRAINED, *SMALL]
    done = command(
        "evaluate", "--config-dir", str(folder), "-m", "train_data=line3", *common,
        "hydra.sweep.dir=swept", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    swept = read_records(tmp_path / "swept")
    assert [record.class_name for record in swept] == ["bottle", "key"]
    assert "data@train_data=line3" in swept[0].provenance["command"]
    done = command(
        "evaluate", "--config-dir", str(folder), "+experiment=line3", *common,
        "hydra.run.dir=named", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    named = read_records(tmp_path / "named")
    assert {record.setting["trained_on"] for record in named} == {"folder (board, lid)"}
    assert [r.metrics for r in named] == [r.metrics for r in swept]


def test_an_inspector_of_such_a_method_is_refused(sets: dict[str, Path]) -> None:
    good = sets["tested"] / "key" / "train" / "good"
    with pytest.raises(UserError, match=r"method=resad learns .* adpt.evaluate train_data=<set>"):
        Inspector.fit(good, method="resad", image_size=48, device="cpu")
