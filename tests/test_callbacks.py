"""What happens beside training: projector files, throughput, checks on other classes."""

import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file

import drawn
from adpt.errors import DataError, UserError
from adpt.methods import FeatureNorm, PatchCore
from adpt.pretraining.callbacks import (
    DownstreamCheck,
    ImagesPerSecond,
    SaveProjector,
)
from adpt.weights import load_projector, projector_metadata
from runs import fitted, folder_data, pretraining, rows


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


def test_equal_runs_in_different_folders_write_the_same_projector(
    key_root: Path, tmp_path: Path
) -> None:
    def saving(name: str, ckpt_path: str | None) -> SaveProjector:
        folder = {"folder": "${output_dir}/checkpoints"}
        config = {"output_dir": str(tmp_path / name), "ckpt_path": ckpt_path, "callbacks": folder}
        return SaveProjector(tmp_path / name / "projector.safetensors", OmegaConf.create(config))

    whole, resumed = saving("whole", None), saving("resumed", "last")
    fitted(folder_data(key_root), callbacks=[whole, resumed])
    assert projector_metadata(whole.path) == projector_metadata(resumed.path)
    tensors = [load_file(one.path) for one in (whole, resumed)]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(value, tensors[1][name]) for name, value in tensors[0].items())
    projectors = [load_projector(one.path) for one in (whole, resumed)]
    assert projectors[0].fingerprint == projectors[1].fingerprint
    config = json.loads(projector_metadata(whole.path)["config"])
    assert config["callbacks"] == {"folder": "./checkpoints"}


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
    for kind, steps in (("own", ["0", "4", "8"]), ("pretrained", ["4", "8"])):
        for method in ("feature_norm", "patchcore"):
            for metric in ("image_auroc", "pixel_auroc", "pixel_aupro"):
                name = f"{method}/{metric}/{kind}"
                found = [row for row in logged if row[f"check/folder/{name}"]]
                assert [row["step"] for row in found] == steps
                for row in found:
                    bottle, cable = (
                        float(row[f"check_classes/folder/{c}/{name}"]) for c in ("bottle", "cable")
                    )
                    mean = float(row[f"check/folder/{name}"])
                    assert mean == pytest.approx((bottle + cable) / 2)
                if kind == "own":
                    assert len({row[f"check/folder/{name}"] for row in found}) == 1
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
        assert image.width == 4 * (image.height - 24) + 3 * 8


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


def test_held_out_classes_are_checked_and_not_trained_on(mvtec_root: Path, tmp_path: Path) -> None:
    data = folder_data(mvtec_root, held_out=["cable"])
    path = tmp_path / "projector.safetensors"
    saving = SaveProjector(path, OmegaConf.create({}))
    methods = {"feature_norm": lambda: FeatureNorm(48)}
    checking = DownstreamCheck(None, methods, shots=2, panels=2, folder=tmp_path / "pictures")
    _, trainer = fitted(data, callbacks=[checking, saving], max_epochs=2)
    seen = json.loads(projector_metadata(path)["images"])
    assert seen
    assert all("bottle" in folder for folder in seen)
    objective = float(trainer.callback_metrics["held_out/feature_norm/pixel_aupro/pretrained"])
    assert 0 <= objective <= 1
    assert not any(name.startswith("held_out_classes") for name in trainer.callback_metrics)
    classes = {picture.parts[-3] for picture in (tmp_path / "pictures").rglob("*.png")}
    assert classes == {"cable"}


def test_a_check_of_held_out_classes_needs_some(key_root: Path) -> None:
    checking = DownstreamCheck(None, {"feature_norm": lambda: FeatureNorm(48)})
    with pytest.raises(UserError, match=r"data\.held_out=\[zipper\]"):
        fitted(folder_data(key_root), callbacks=[checking])


@pytest.mark.parametrize("held_out", [["zipper"], ["bottle", "cable"]])
def test_classes_that_cannot_be_held_out_are_told(mvtec_root: Path, held_out: list[str]) -> None:
    data = folder_data(mvtec_root, held_out=held_out)
    data.setup()
    with pytest.raises(DataError, match="not all of them; they are bottle, cable"):
        data.pretraining_samples()


def test_faults_of_the_checked_set_show_before_training(key_root: Path, tmp_path: Path) -> None:
    module = pretraining()
    with pytest.raises(DataError, match="There is no folder"):
        fitted(
            folder_data(key_root), module, callbacks=[check(tmp_path / "nowhere", tmp_path / "p")]
        )
