"""Figures and pictures of checks on W&B: names, x axis, and a slider over the epochs."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

import drawn
from adpt.methods import FeatureNorm
from adpt.pretraining.callbacks import DownstreamCheck, ImagesPerSecond
from adpt.tracking import finishing, name_figures, wandb_logger
from runs import fitted, folder_data
from wandb_files import OfflineRun, read_run, without_account


def test_means_are_over_classes_and_leave_undefined_ones_out() -> None:
    figures = {
        ("a", "padim", "image_auroc"): 0.5,
        ("b", "padim", "image_auroc"): 1.0,
        ("c", "padim", "image_auroc"): math.nan,
        ("own/a", "padim", "pixel_ap"): 0.2,
        ("visa/a", "padim", "pixel_ap"): 0.4,
        ("a", "cflow", "pixel_ap"): math.nan,
    }
    named = name_figures("check/visa", "own", figures)
    means = {name: value for name, value in named.items() if name.startswith("check/")}
    assert means == pytest.approx(
        {"check/visa/padim/image_auroc/own": 0.75, "check/visa/padim/pixel_ap/own": 0.3}
    )
    assert named["check_classes/visa/own/a/padim/pixel_ap/own"] == 0.2
    assert len(named) == len(figures) + len(means)


def test_held_out_classes_have_sections_of_their_own() -> None:
    named = name_figures("held_out", "pretrained", {("zipper", "padim", "pixel_ap"): 0.5})
    assert set(named) == {
        "held_out/padim/pixel_ap/pretrained",
        "held_out_classes/zipper/padim/pixel_ap/pretrained",
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a run of two epochs with a check after each."""
    folder = tmp_path_factory.mktemp("tracked")
    with without_account(folder):
        logger = wandb_logger("adpt", "tiny", str(folder / "out"), mode="offline")
        checking = DownstreamCheck(
            folder_data(drawn.draw_mvtec(folder / "mvtec", ("bottle", "cable"))),
            {"feature_norm": lambda: FeatureNorm(48)},
            shots=2,
            panels=3,
            folder=folder / "pictures",
        )
        data = folder_data(drawn.draw_folder(folder / "own", ("key",)))
        with finishing([logger]):
            callbacks = [checking, ImagesPerSecond()]
            fitted(data, logger=[logger], callbacks=callbacks, max_epochs=2)
        yield folder / "out"


@pytest.fixture
def tracked(folder: Path) -> OfflineRun:
    return read_run(folder)


def test_a_run_is_grouped_by_panel_and_checks_go_over_epochs(tracked: OfflineRun) -> None:
    names = {name for row in tracked.history for name in row if not name.startswith("_")}
    sections = {name.split("/")[0] for name in names if "/" in name}
    assert sections == {
        "loss", "norm", "angle", "data", "check", "check_classes", "heatmaps", "trainer"
    }  # fmt: skip
    checks = [row for row in tracked.history if "check/epoch" in row]
    assert [row["check/epoch"] for row in checks] == [0, 1, 2]
    own, pretrained = (f"check/folder/feature_norm/pixel_aupro/{k}" for k in ("own", "pretrained"))
    assert [own in row for row in checks] == [True, True, True]
    assert [pretrained in row for row in checks] == [False, True, True]
    assert len({row[own] for row in checks}) == 1
    of_class = pretrained.replace("check/folder", "check_classes/folder/cable")
    for name in (own, pretrained, of_class):
        assert tracked.metrics[name].step_metric == "check/epoch"
    assert tracked.metrics["check/epoch"].options.hidden
    # The last epoch's, not the best one's: that would be a choice by test data.
    assert tracked.summary[pretrained] == checks[-1][pretrained]


def test_throughput_is_summed_up_by_its_mean(tracked: OfflineRun) -> None:
    speeds = [r["data/images_per_second"] for r in tracked.history if "data/images_per_second" in r]
    assert len(speeds) == 4
    mean = tracked.summary["data/images_per_second"]["mean"]
    assert mean == pytest.approx(sum(speeds) / len(speeds))


def test_the_slider_shows_the_same_images_in_every_epoch(tracked: OfflineRun, folder: Path) -> None:
    name = "heatmaps/check/folder/bottle/feature_norm"
    shown = [row[name] for row in tracked.history if name in row]
    assert len(shown) == 2
    first, second = (entry["captions"] for entry in shown)
    assert first == second
    assert len(first) == 3
    (run,) = (folder / "wandb").glob("offline-run-*")
    files = [run / "files" / file for entry in shown for file in entry["filenames"]]
    assert len(set(files)) == 6
    assert all(file.is_file() for file in files)
