"""What happens beside training: checks on another set, throughput, pictures, W&B."""

import logging
import math
from pathlib import Path

import pytest
import torch
import wandb
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import CSVLogger
from omegaconf import OmegaConf
from PIL import Image

import drawn
from adpt.callbacks import (
    DownstreamCheck,
    ImagesPerSecond,
    SaveProjector,
    has_wandb_account,
    log_config,
    means,
    require_checkpoint,
    wandb_logger,
)
from adpt.errors import DataError, UserError
from adpt.methods import FeatureNorm, PatchCore
from adpt.weights import load_projector, projector_metadata
from runs import CONF, composed, fitted, folder_data, pretraining, rows


@pytest.fixture
def key_root(tmp_path: Path) -> Path:
    """Two steps of 6 images an epoch."""
    return drawn.draw_folder(tmp_path / "own", ("key",))


def check(root: Path, folder: Path, **options) -> DownstreamCheck:
    methods = {"feature_norm": lambda: FeatureNorm(48), "patchcore": lambda: PatchCore(48)}
    return DownstreamCheck(
        folder_data(root), methods, **{"shots": 2, "panels": 2, "folder": folder, **options}
    )


# ---- The projector's file -------------------------------------------------------------------


def test_the_projector_is_written_after_every_epoch(key_root: Path, tmp_path: Path) -> None:
    path = tmp_path / "out" / "projector.safetensors"
    saving = SaveProjector(path, OmegaConf.create({"seed": 3, "double": "${seed}"}))
    epochs = []

    class Watch(SaveProjector):
        def on_train_epoch_end(self, trainer, module) -> None:
            super().on_train_epoch_end(trainer, module)
            epochs.append(projector_metadata(self.path)["epoch"])

    watch = Watch(tmp_path / "other.safetensors", OmegaConf.create({}))
    module, _ = fitted(folder_data(key_root), max_epochs=2, callbacks=[saving, watch])
    assert epochs == ["1", "2"]
    assert projector_metadata(path)["config"] == '{"seed": 3, "double": 3}'
    weights = load_projector(path).state_dict()
    assert all((weights[k] == v).all() for k, v in module.projector.state_dict().items())


# ---- Throughput -----------------------------------------------------------------------------


def test_throughput_is_logged_in_every_epoch(key_root: Path, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path / "logs", name="", version="")
    fitted(
        folder_data(key_root),
        logger=logger,
        callbacks=[ImagesPerSecond()],
        max_epochs=6,
        log_every_n_steps=3,
    )
    logged = [row for row in rows(tmp_path / "logs" / "metrics.csv") if row["loss/total"]]
    speeds = [row["data/images_per_second"] for row in logged]
    assert len(speeds) == 4
    assert all(0 < float(speed) < 1e6 for speed in speeds)


# ---- Downstream checks ----------------------------------------------------------------------


def test_checks_compare_own_with_pretrained_features(
    key_root: Path, mvtec_root: Path, tmp_path: Path
) -> None:
    logger = CSVLogger(tmp_path / "logs", name="", version="")
    checking = check(mvtec_root, tmp_path / "pictures", every_n_epochs=2)
    fitted(folder_data(key_root), logger=logger, callbacks=[checking], max_epochs=4)
    logged = rows(tmp_path / "logs" / "metrics.csv")
    for kind, steps in (("own", ["0"]), ("pretrained", ["4", "8"])):
        for method in ("feature_norm", "patchcore"):
            for metric in ("image_auroc", "pixel_auroc", "pixel_aupro"):
                name = f"check_{kind}/{method}/{metric}"
                found = [row for row in logged if row[f"{name}/mean"]]
                assert [row["step"] for row in found] == steps
                for row in found:
                    bottle, cable = (float(row[f"{name}/{c}"]) for c in ("bottle", "cable"))
                    assert float(row[f"{name}/mean"]) == pytest.approx((bottle + cable) / 2)
    pictures = sorted((tmp_path / "pictures").rglob("*.png"))
    assert len(pictures) == 2 * 2 * 2 * 2
    names = {path.relative_to(tmp_path / "pictures").parts[:3] for path in pictures}
    assert names == {
        (epoch, class_name, method)
        for epoch in ("epoch_02", "epoch_04")
        for class_name in ("bottle", "cable")
        for method in ("feature_norm", "patchcore")
    }
    with Image.open(pictures[0]) as image:
        assert image.width == 4 * 48 + 3 * 8


def test_a_check_leaves_training_as_it_is(key_root: Path, mvtec_root: Path, tmp_path: Path) -> None:
    plain, _ = fitted(folder_data(key_root), max_epochs=2)
    checked, _ = fitted(
        folder_data(key_root), max_epochs=2, callbacks=[check(mvtec_root, tmp_path / "pictures")]
    )
    theirs = checked.projector.state_dict()
    assert all((theirs[k] == v).all() for k, v in plain.projector.state_dict().items())
    assert checked.projector.training


@pytest.mark.parametrize(("keep_gb", "reads"), [(4.0, 1), (0.0, 3)])
def test_encoded_classes_are_kept_while_they_fit(
    key_root: Path, mvtec_root: Path, tmp_path: Path, keep_gb: float, reads: int, monkeypatch
) -> None:
    read: list[str] = []
    checking = check(mvtec_root, tmp_path / "pictures", keep_gb=keep_gb)
    select = checking.data.select

    def counting(split, label=None, class_name=None):
        if split == "test":
            read.append(class_name)
        return select(split, label, class_name)

    monkeypatch.setattr(checking.data, "select", counting)
    fitted(folder_data(key_root), callbacks=[checking], max_epochs=2)
    assert sorted(read) == ["bottle"] * reads + ["cable"] * reads


def test_faults_of_the_checked_set_show_before_training(key_root: Path, tmp_path: Path) -> None:
    module = pretraining()
    with pytest.raises(DataError, match="There is no folder"):
        fitted(
            folder_data(key_root), module, callbacks=[check(tmp_path / "nowhere", tmp_path / "p")]
        )


def test_means_are_over_classes_and_leave_undefined_ones_out() -> None:
    figures = {
        "check_own/padim/image_auroc/a": 0.5,
        "check_own/padim/image_auroc/b": 1.0,
        "check_own/padim/image_auroc/c": math.nan,
        "check_own/padim/pixel_ap/own/a": 0.2,
        "check_own/padim/pixel_ap/visa/a": 0.4,
        "check_own/cflow/pixel_ap/a": math.nan,
    }
    assert means(figures) == pytest.approx(
        {"check_own/padim/image_auroc/mean": 0.75, "check_own/padim/pixel_ap/mean": 0.3}
    )


# ---- Before training ------------------------------------------------------------------------


def test_a_checkpoint_that_is_not_there_is_told(tmp_path: Path) -> None:
    there = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "loops": {}}, there)
    assert require_checkpoint(str(there)) == str(there)
    assert require_checkpoint(None) is None
    with pytest.raises(UserError, match=r"ckpt_path=.*other\.ckpt: there is no such file"):
        require_checkpoint(str(tmp_path / "other.ckpt"))


@pytest.mark.parametrize("content", [b"", b"junk", {"weights": 1}])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "last.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match="no checkpoint"):
        require_checkpoint(str(path))


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


# ---- Weights & Biases -----------------------------------------------------------------------


@pytest.fixture
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No account and no way to one, as on a machine that never ran `wandb login`."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    yield
    wandb.finish()
    wandb.teardown()


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
    caplog.clear()
    assert made(tmp_path / "asked", mode="offline")._offline
    assert not caplog.records


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="online or offline, not 'disabled'; logger=csv for none"):
        made(tmp_path, mode="disabled")


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


def test_an_offline_run_takes_metrics_config_and_pictures(
    key_root: Path, mvtec_root: Path, tmp_path: Path, no_account: None
) -> None:
    logger = made(tmp_path / "out", mode="offline")
    log_config([logger], composed("train", "output_dir=x", "run_name=x"))
    csv = CSVLogger(tmp_path / "out", name="", version="")
    fitted(
        folder_data(key_root),
        logger=[csv, logger],
        callbacks=[check(mvtec_root, tmp_path / "pictures")],
    )
    summary = dict(logger.experiment.summary)
    config = dict(logger.experiment.config)
    folder = Path(logger.experiment.dir)
    wandb.finish()
    assert summary["loss/total"] == pytest.approx(
        float(
            [row for row in rows(tmp_path / "out" / "metrics.csv") if row["loss/total"]][-1][
                "loss/total"
            ]
        ),
        rel=1e-4,
    )
    assert 0 <= summary["check_pretrained/patchcore/image_auroc/mean"] <= 1
    assert 0 <= summary["check_own/feature_norm/pixel_aupro/bottle"] <= 1
    assert config["seed"] == 0
    pictures = sorted((folder / "media" / "images").glob("heatmaps*.png"))
    assert len(pictures) == 2 * 2 * 2
    assert folder.is_relative_to(tmp_path / "out")
    assert list((tmp_path / "out" / "wandb").glob("offline-run-*/*.wandb"))
