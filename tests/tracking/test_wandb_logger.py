"""W&B runs: with and without an account, in sweeps, and how they end."""

import logging
from contextlib import nullcontext
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import CSVLogger
from omegaconf import OmegaConf

from adpt.errors import UserError
from adpt.running.whole_files import is_output
from adpt.tracking import finishing, has_wandb_account, log_config, wandb_logger
from runs import CONF
from wandb_files import read_run, records


def test_an_account_is_found_without_starting_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_wandb_account()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password key")
    assert has_wandb_account()
    (tmp_path / "netrc").write_text("machine elsewhere login user password key")
    assert not has_wandb_account()
    monkeypatch.setenv("WANDB_API_KEY", "key")
    assert has_wandb_account()


def test_the_config_goes_to_every_logger(tmp_path: Path) -> None:
    loggers = [CSVLogger(tmp_path / str(number), name="", version="") for number in (0, 1)]
    log_config(loggers, OmegaConf.create({"seed": 3, "data": {"seed": "${seed}"}}))
    for number, logger in enumerate(loggers):
        logger.save()
        written = OmegaConf.load(tmp_path / str(number) / "hparams.yaml")
        assert written == {"seed": 3, "data": {"seed": 3}}


def made(folder: Path, **options):
    return wandb_logger(**{"project": "adpt", "name": "tiny", "save_dir": str(folder), **options})


def test_without_an_account_runs_are_offline_with_one_warning(
    tmp_path: Path, no_account: None, caplog: pytest.LogCaptureFixture
) -> None:
    logger = made(tmp_path / "out")
    warned = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warned) == 1
    assert "No W&B account is set up" in warned[0].getMessage()
    assert "wandb sync" in warned[0].getMessage()
    assert logger._offline
    assert is_output(tmp_path / "out" / "wandb")
    caplog.clear()
    assert made(tmp_path / "asked", mode="offline")._offline
    assert not caplog.records


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="online or offline, not 'disabled'; logger=csv for none"):
        made(tmp_path, mode="disabled")


@pytest.mark.parametrize(
    ("name", "seed", "shown"),
    [
        ("clip_l", 3, "clip_l_seed3"),
        ("visa_clip_l_seed3", 3, "visa_clip_l_seed3"),
        ("seed=3", 3, "seed=3"),
        ("seed31", 3, "seed31_seed3"),
        ("seeds_3", 3, "seeds_3_seed3"),
        ("clip_l", None, "clip_l"),
    ],
)
def test_runs_of_a_sweep_over_seeds_are_told_apart_by_their_names(
    tmp_path: Path, no_account: None, name: str, seed: int | None, shown: str
) -> None:
    assert made(tmp_path, name=name, seed=seed)._name == shown


@pytest.mark.parametrize(("mode", "group"), [("RUN", None), ("MULTIRUN", "2026-01-02_03-04-05")])
def test_the_runs_of_a_sweep_share_a_group(
    tmp_path: Path, no_account: None, mode: str, group: str | None
) -> None:
    import hydra

    sweep = "hydra.sweep.dir=outputs/sweep/2026-01-02_03-04-05"
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose(
            "train", return_hydra_config=True, overrides=[f"hydra.mode={mode}", sweep]
        )
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        logger = made(tmp_path / "out", mode="offline")
    finally:
        HydraConfig.instance().cfg = before
    assert logger._wandb_init["group"] == group


@pytest.mark.parametrize("fails", [False, True])
def test_an_offline_run_ends_with_the_command_that_sends_it(
    tmp_path: Path, no_account: None, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    logger = made(tmp_path / "out", mode="offline")
    log_config([logger], OmegaConf.create({"seed": 3}))
    caplog.set_level(logging.INFO)
    with pytest.raises(ZeroDivisionError) if fails else nullcontext(), finishing([logger]):
        logger.log_metrics({"loss/total": 1 / (not fails)}, step=0)
    (said,) = (r.getMessage() for r in caplog.records if "wandb sync" in r.getMessage())
    (folder,) = (tmp_path / "out" / "wandb").glob("offline-run-*")
    assert said.endswith(f"wandb sync {folder}")
    assert read_run(tmp_path / "out").config["seed"] == 3
    (record,) = (
        r.exit
        for r in records(next(folder.glob("*.wandb")).read_bytes())
        if r.WhichOneof("record_type") == "exit"
    )
    assert record.exit_code == int(fails)
