"""The ablation that trains the backbone too."""

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from omegaconf import OmegaConf
from torch import Tensor

from adpt.backbones import Backbone, build_backbone
from adpt.backbones.timm import TimmBackbone
from adpt.errors import UserError, WeightsError
from adpt.pretraining import Pretraining
from adpt.pretraining.callbacks import SaveProjector
from adpt.pretraining.reference_pool import ReferencePool
from adpt.train import train
from adpt.weights import load_matching_projector
from drawn import draw_folder
from runs import fitted, folder_data, pretraining, run_task, training

CPU = torch.device("cpu")


@pytest.fixture
def key_root(tmp_path: Path) -> Path:
    """One product, two steps of 6 images an epoch."""
    return draw_folder(tmp_path / "own", ("key",))


def network(weights: Path | None = None, seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    return build_backbone(
        "resnet10t", levels=[1, 2], image_size=48, weights=weights, pretrained=weights is not None
    )


def learning(seed: int = 0, **options) -> Pretraining:
    given = {
        "backbone": network(),
        "train_backbone": True,
        "optimizer": partial(torch.optim.Adam, lr=1e-3),
        **options,
    }
    return pretraining(seed, **given)


def parameters(backbone: Backbone) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in backbone.named_parameters()}


def moved(backbone: Backbone, start: dict[str, Tensor]) -> set[str]:
    now = parameters(backbone)
    return {name for name, value in start.items() if not torch.equal(value, now[name])}


@pytest.mark.parametrize("pool_size", [4, None])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_every_weight_of_the_backbone_learns(
    key_root: Path, precision: str, pool_size: int | None
) -> None:
    module = learning(references=ReferencePool(pool_size=pool_size, shots=(1, 2)))
    start, buffers = parameters(module.backbone), dict(module.backbone.named_buffers())
    buffers = {name: value.clone() for name, value in buffers.items()}
    fitted(folder_data(key_root), module, precision=precision)
    assert moved(module.backbone, start) == set(start)
    after = dict(module.backbone.named_buffers())
    assert all(torch.equal(value, after[name]) for name, value in buffers.items())


def test_the_backbone_has_its_own_learning_rate(key_root: Path) -> None:
    for rate, expected in ((0.0, 0.0), (2e-4, 2e-4), (None, 1e-3)):
        module = learning(backbone_lr=rate)
        start = parameters(module.backbone)
        fitted(folder_data(key_root), module, max_steps=1)
        assert bool(moved(module.backbone, start)) == (rate != 0)
        # Adam's first step is as long as its rate.
        now = parameters(module.backbone)
        longest = max((now[name] - value).abs().max().item() for name, value in start.items())
        assert longest == pytest.approx(expected, rel=1e-2, abs=1e-8)
        projector, backbone = module.optimizers().param_groups
        assert (projector["lr"], backbone["lr"]) == (1e-3, expected)


def test_by_default_the_optimizer_knows_the_projector_alone(key_root: Path) -> None:
    module = pretraining(backbone=network())
    optimizer = module.configure_optimizers()["optimizer"]
    known = [id(one) for group in optimizer.param_groups for one in group["params"]]
    assert known == [id(parameter) for parameter in module.projector.parameters()]
    start = parameters(module.backbone)
    fitted(folder_data(key_root), module)
    assert moved(module.backbone, start) == set()


def test_references_are_encoded_anew_each_epoch_with_the_weights_as_they_are(
    key_root: Path,
) -> None:
    pools: list[list[Tensor]] = []
    expected: list[list[Tensor]] = []
    data = folder_data(key_root)

    class Look(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
            if batch_idx == 0:
                pool = module.references
                pools.append([level.clone() for level in pool._levels])
                rows = sorted(pool._row, key=pool._row.__getitem__)
                image = data.read([pool._samples[index] for index in rows]).image
                with torch.no_grad():
                    expected.append(
                        [level.flatten(2).transpose(1, 2) for level in module.backbone(image)]
                    )

    fitted(data, learning(), max_epochs=2, callbacks=[Look()])
    for pool, levels in zip(pools, expected, strict=True):
        for one, other in zip(pool, levels, strict=True):
            assert not one.requires_grad
            torch.testing.assert_close(one, other)


def test_resumed_training_equals_uninterrupted(key_root: Path, tmp_path: Path) -> None:
    def run(epochs: int, seed: int, ckpt_path: str | None = None) -> Pretraining:
        module = learning(seed, references=ReferencePool(pool_size=4, shots=(1, 2)))
        saving = ModelCheckpoint(tmp_path / f"{epochs}{seed}", save_last=True)
        options = {"enable_checkpointing": True, "callbacks": [saving], "ckpt_path": ckpt_path}
        fitted(folder_data(key_root), module, max_epochs=epochs, **options)
        return module

    whole = run(2, 0)
    run(1, 0)
    # A fresh start, as after a crash: another projector, until the checkpoint is loaded.
    resumed = run(2, 7, str(tmp_path / "10" / "last.ckpt")).state_dict()
    assert resumed.keys() == whole.state_dict().keys()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed[name]), name


@pytest.mark.parametrize("was_trained", [True, False])
def test_a_checkpoint_of_the_other_kind_is_refused(
    key_root: Path, tmp_path: Path, was_trained: bool
) -> None:
    saving = ModelCheckpoint(tmp_path / "made", save_last=True)
    first = learning(train_backbone=was_trained)
    options = {"enable_checkpointing": True, "callbacks": [saving]}
    fitted(folder_data(key_root), first, max_steps=1, **options)
    other = learning(train_backbone=not was_trained)
    word = "trained" if was_trained else "frozen"
    told = f"backbone was {word}: resume with model.train_backbone={str(was_trained).lower()}"
    with pytest.raises(UserError, match=told):
        fitted(folder_data(key_root), other, ckpt_path=str(tmp_path / "made" / "last.ckpt"))


def test_the_backbone_lies_beside_the_projector_and_fits_it(key_root: Path, tmp_path: Path) -> None:
    saving = SaveProjector(tmp_path / "run" / "projector.safetensors", OmegaConf.create({}))
    module, _ = fitted(folder_data(key_root), learning(), callbacks=[saving])
    file = tmp_path / "run" / "backbone.safetensors"
    again = network(file, seed=9)
    images = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        for one, other in zip(again(images), module.backbone(images), strict=True):
            assert torch.equal(one, other)
    loaded = load_matching_projector(str(saving.path), again, CPU)
    assert loaded is not None
    assert loaded.channels == (64, 128)
    with pytest.raises(WeightsError, match=r"backbone\.weights and other options"):
        load_matching_projector(str(saving.path), network(), CPU)


def test_a_frozen_backbone_is_not_written(key_root: Path, tmp_path: Path) -> None:
    saving = SaveProjector(tmp_path / "run" / "projector.safetensors", OmegaConf.create({}))
    fitted(folder_data(key_root), pretraining(backbone=network()), callbacks=[saving])
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["projector.safetensors"]


def test_as_configured(key_root: Path, tmp_path: Path) -> None:
    chosen = ["data=folder", f"data.root={key_root}", "+experiment=ablation/trainable_backbone"]
    own = ["backbone=timm", "backbone.name=resnet10t", "backbone.pretrained=false"]
    run_task(train, training(tmp_path / "run", *chosen, *own, "backbone.levels=[1,2]"))
    backbone = network(tmp_path / "run" / "backbone.safetensors")
    projector = str(tmp_path / "run" / "projector.safetensors")
    assert load_matching_projector(projector, backbone, CPU) is not None


def test_a_backbone_that_is_fixed_is_refused_before_training(
    key_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Backbone) -> None:
        raise UserError("This one cannot learn.")

    monkeypatch.setattr(TimmBackbone, "unfreeze", refuse)
    chosen = ["data=folder", f"data.root={key_root}", "model.train_backbone=true"]
    with pytest.raises(Exception, match="cannot learn"):
        run_task(train, training(tmp_path / "run", *chosen))
