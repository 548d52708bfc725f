"""A search for better options goes by held-out classes, and sweepers get its figure."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import drawn
from adpt.errors import UserError
from adpt.pretraining.objective import check_objective, measured
from adpt.results import METRICS
from adpt.train import train
from adpt.weights import projector_metadata
from runs import CONF, TINY_TRAINING, composed, rows, run_task, training

NAME = "held_out/feature_norm/pixel_aupro/pretrained"
SWEEP = CONF.parent / "docs" / "wandb_sweep.yaml"

# ---- What is accepted -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([f"objective={NAME}"], "add it with data.held_out"),
        (["+hparams_search=held_out", "trainer.max_epochs=4",
          "callbacks.held_out_check.every_n_epochs=3"], "after the last epoch"),
        (["+hparams_search=held_out", "objective=check/mvtec/feature_norm/pixel_aupro/pretrained"],
         "never of a set to be tested on; accepted are held_out/feature_norm/image_auroc"),
        (["+hparams_search=held_out", "objective=held_out/padim/pixel_aupro/pretrained"],
         "accepted are"),
        (["+hparams_search=held_out", "objective=held_out/feature_norm/pixel_aupro/own"],
         "accepted are"),
    ],
)  # fmt: skip
def test_what_cannot_be_the_objective_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_objective(composed("train", *overrides))


def test_no_objective_and_that_of_held_out_classes_are_accepted() -> None:
    check_objective(composed("train"))
    config = composed("train", "+hparams_search=held_out")
    check_objective(config)
    assert config.objective == NAME
    known = composed("train", "data=realiad").data
    target = hydra.utils.get_class(known._target_)
    assert set(config.data.held_out) < set(target.known_classes)


def test_an_objective_that_was_not_measured_is_told() -> None:
    assert measured({}, None) is None
    assert measured({NAME: torch.tensor(0.25)}, NAME) == 0.25
    with pytest.raises(UserError, match="was not measured"):
        measured({}, NAME)


# ---- Runs -------------------------------------------------------------------------------------


def small(tmp_path: Path) -> list[str]:
    root = drawn.draw_folder(tmp_path / "own", ("key", "bottle"))
    return [
        "+hparams_search=held_out",
        "data=folder",
        f"data.root={root}",
        "data.held_out=[bottle]",
        "callbacks.held_out_check.shots=2",
    ]


def test_a_run_returns_the_figure_of_classes_it_has_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    returned: list[Any] = []
    task = train.__wrapped__
    monkeypatch.setattr(train, "__wrapped__", lambda config: returned.append(task(config)))
    run_task(train, training(tmp_path / "out", *small(tmp_path)))
    logged = [row[NAME] for row in rows(tmp_path / "out" / "metrics.csv") if row[NAME]]
    assert returned == [pytest.approx(float(logged[-1]), rel=1e-6)]
    seen = json.loads(projector_metadata(tmp_path / "out" / "projector.safetensors")["images"])
    assert {Path(folder).relative_to(tmp_path / "own").parts[0] for folder in seen} == {"key"}


# ---- Searches ---------------------------------------------------------------------------------


def sweep_values(parameter: dict[str, Any]) -> list[Any]:
    """The values at the ends of a parameter's range, or all of a few."""
    if "value" in parameter:
        return [parameter["value"]]
    return list(parameter.get("values", ())) or [parameter["min"], parameter["max"]]


def test_the_jobs_of_the_wandb_sweep_are_valid_and_log_what_it_goes_by() -> None:
    sweep = OmegaConf.to_container(OmegaConf.load(SWEEP), resolve=False)
    *words, last = sweep["command"]
    assert words[:3] == ["python", "-m", "adpt.train"]
    assert last == "${args_no_hyphens}"
    for name, parameter in sweep["parameters"].items():
        for value in sweep_values(parameter):
            config = composed("train", *words[3:], f"{name}={value}")
            if name != "backbone":
                assert OmegaConf.select(config, name) == value
            check_objective(config)
            assert "wandb" in config.logger
            assert config.objective == sweep["metric"]["name"]
            assert sweep["metric"]["goal"] == "maximize"
            assert config.objective.split("/")[2] in METRICS


def test_the_wandb_sweep_is_one_that_wandb_takes() -> None:
    sweeps = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    sweep = sweeps.load_sweep_config(str(SWEEP))
    # As W&B's agent makes a job's command of it.
    parameters = {name: {"value": sweep_values(p)[0]} for name, p in sweep["parameters"].items()}
    made = sweeps.create_sweep_command_args({"args": parameters})
    arguments = made["args_no_hyphens"]
    assert "model.optimizer.lr=1e-05" in arguments
    composed("train", "+hparams_search=held_out", *arguments)


@pytest.mark.slow
def test_optuna_searches(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    sweep = tmp_path / "sweep"
    chosen = [*TINY_TRAINING, *small(tmp_path)[1:], "+hparams_search=optuna"]
    study = ["hydra.sweeper.n_trials=2", f"hydra.sweeper.storage=sqlite:///{tmp_path}/study.db"]
    command = [sys.executable, "-m", "adpt.train", "-m", *chosen, *study]
    for _ in range(2):
        done = subprocess.run(
            [*command, f"hydra.sweep.dir={sweep}"],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
    assert "Using an existing study" in done.stderr
    best = OmegaConf.load(sweep / "optimization_results.yaml")
    assert set(best.best_params) == {
        f"model.{name}"
        for name in (
            "optimizer.lr", "angle_loss.temperature", "norm_loss.radius", "norm_loss.margin"
        )
    }  # fmt: skip
    figures = [float(rows(path)[-1][NAME]) for path in sorted(sweep.glob("*/metrics.csv"))]
    assert len(figures) == 2
    assert best.best_value >= max(figures) - 1e-6


@pytest.fixture(autouse=True)
def _hydra_as_before() -> Any:
    yield
    GlobalHydra.instance().clear()
