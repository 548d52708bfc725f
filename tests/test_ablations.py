"""Ablations: each trains, is saved, and comes back as what it was."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from adpt.cli.entry import user_message
from adpt.data import Folder
from adpt.errors import UserError
from adpt.pretraining import Pretraining, patch_labels
from adpt.pretraining.reference_pool import ReferencePool
from adpt.projector import FeatureProjector
from adpt.projector.blocks import BLOCKS
from adpt.residual import residual_features
from adpt.train import train
from adpt.weights import load_projector, projector_metadata
from drawn import draw_folder
from runs import fitted, folder_data, pretraining, rows, run_task, training
from small import SmallBackbone

EXPERIMENTS = {
    "no residual": ["+experiment=ablation/no_residual"],
    "angle only": ["+experiment=ablation/angle_only"],
    "norm only": ["+experiment=ablation/norm_only"],
    **{block: [f"model.projector.block={block}"] for block in BLOCKS},
    "no residual, scaled": ["+experiment=ablation/no_residual", "model.scale_levels=true"],
    "cross_attention, scaled": ["model=reference_scale", "model.projector.block=cross_attention"],
}


@pytest.fixture
def key_root(tmp_path: Path) -> Path:
    """One product: 6 + 3 normal images, 3 with a defect; two steps of 6 an epoch."""
    return draw_folder(tmp_path / "own", ("key",))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Pretraining]:
    """Modules that an entry trains, with their first weights as `start`."""
    modules: list[Pretraining] = []
    begin = Pretraining.on_fit_start

    def watching(module: Pretraining) -> None:
        begin(module)
        module.start = {k: v.clone() for k, v in module.projector.named_parameters()}
        modules.append(module)

    monkeypatch.setattr(Pretraining, "on_fit_start", watching)
    return modules


# ---- As configured --------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_trains_and_its_file_gives_the_same_output(
    name: str, key_root: Path, tmp_path: Path, trained: list[Pretraining]
) -> None:
    chosen = ["data=folder", f"data.root={key_root}", "references.shots=[1,2]"]
    run_task(train, training(tmp_path / "run", *chosen, *EXPERIMENTS[name]))
    module = trained[0]
    metrics = [row for row in rows(tmp_path / "run" / "metrics.csv") if row["loss/total"]]
    assert len(metrics) == 2
    losses = {column for column in metrics[0] if column.startswith("loss/")}
    assert any("angle" in loss for loss in losses) == (name != "norm only")
    assert any("norm" in loss for loss in losses) == (name != "angle only")

    now = dict(module.projector.named_parameters())
    still = {key for key, value in module.start.items() if torch.equal(value, now[key])}
    assert not still

    path = tmp_path / "run" / "projector.safetensors"
    loaded = load_projector(path)
    block = name.split(",")[0]
    assert loaded.block == (block if block in BLOCKS else "attention")
    assert loaded.on_residuals == ("no residual" not in name)
    assert json.loads(projector_metadata(path)["config"])["model"]["residual"] == (
        "no residual" not in name
    )
    levels = [torch.randn(2, 40, 4, 4), torch.randn(2, 112, 2, 2)]
    references = [torch.randn(2, 16, 40), torch.randn(2, 4, 112)]
    with torch.no_grad():
        expected = module.projector.eval()(levels, references=references)
        for one, other in zip(loaded(levels, references=references), expected, strict=True):
            assert torch.equal(one, other)


def test_without_any_loss_there_is_nothing_to_train() -> None:
    with pytest.raises(UserError, match=r"model\.angle_loss and model\.norm_loss are both null"):
        pretraining(angle_loss=None, norm_loss=None)


# ---- A step, once more from its parts -------------------------------------------------------


class Steps(Callback):
    """Keeps the first projector and every step's batch and loss."""

    def __init__(self) -> None:
        self.batches: list = []
        self.losses: list[Tensor] = []

    def on_train_start(self, trainer, module) -> None:
        self.projector = {k: v.clone() for k, v in module.projector.state_dict().items()}

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        self.batches.append(batch)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.losses.append(outputs["loss"])


def losses_of(module: Pretraining, views: list[list[Tensor]], masks: Tensor) -> Tensor:
    """Both losses of two projected views, as the paper sums them."""
    total = torch.zeros(())
    for number in range(len(views[0])):
        first, second = (
            view[number].permute(0, 2, 3, 1).reshape(-1, view[number].shape[1]) for view in views
        )
        covered, touched = patch_labels(masks, views[0][number].shape[-2:])
        total = total + module.angle_loss(first, second, covered, module.centres[number])
        total = total + sum(module.norm_loss(view, touched) for view in (first, second))
    return total


def one_step(root: Path, **options) -> tuple[Pretraining, Steps, Folder]:
    steps, data = Steps(), folder_data(root)
    module, _ = fitted(data, pretraining(**options), callbacks=[steps], max_steps=1)
    module.projector.load_state_dict(steps.projector)
    assert steps.batches[0].mask.any()
    return module, steps, data


def test_without_residuals_a_step_projects_the_backbones_own_features(key_root: Path) -> None:
    module, steps, _ = one_step(key_root, residual=False)
    batch = steps.batches[0]
    views = [module.projector(module.backbone(batch.image[:, view])) for view in (0, 1)]
    expected = losses_of(module, views, batch.mask)
    torch.testing.assert_close(steps.losses[0], expected.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("residual", [True, False])
def test_cross_attention_gets_the_references_of_the_step(key_root: Path, residual: bool) -> None:
    block = partial(FeatureProjector, num_heads=4, block="cross_attention")
    module, steps, _ = one_step(key_root, projector=block, residual=residual)
    batch = steps.batches[0]
    references = module.references.draw(batch.path, module.references.draw_shots(0))
    views = []
    for view in (0, 1):
        levels = module.backbone(batch.image[:, view])
        entering = residual_features(levels, references) if residual else levels
        views.append(module.projector(entering, references=references))
    expected = losses_of(module, views, batch.mask)
    torch.testing.assert_close(steps.losses[0], expected.detach(), rtol=1e-5, atol=1e-5)
    others = [level.roll(1, -1) for level in references]
    assert not torch.allclose(module.projector(entering, references=others)[0], views[1][0])


# ---- Without residuals ----------------------------------------------------------------------


class Counting(SmallBackbone):
    """Counts the images it sees."""

    images = 0

    def levels(self, images: Tensor) -> list[Tensor]:
        self.images += len(images)
        return super().levels(images)


def test_without_residuals_no_reference_is_encoded(key_root: Path) -> None:
    seen = {}
    for residual in (True, False):
        backbone = Counting()
        fitted(folder_data(key_root), pretraining(backbone=backbone, residual=residual))
        seen[residual] = backbone.images
    # 9 normal images for the centres and 12 images in two views; else also one blank image for the
    # pool's size and a pool of 4.
    assert seen == {False: 9 + 24, True: 9 + 24 + 1 + 4}


def test_without_residuals_one_normal_image_a_class_is_enough(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "own", ("key",), train=1, good=0)
    with pytest.raises(UserError, match="at least 2 as references"):
        fitted(folder_data(root))
    _, used = fitted(folder_data(root), pretraining(residual=False))
    assert used.global_step == 1


@pytest.mark.parametrize("scaled", [False, True])
def test_without_residuals_centres_are_mean_own_features(key_root: Path, scaled: bool) -> None:
    module, _, data = one_step(key_root, residual=False, scale_levels=scaled)
    normal = [sample for sample in data.pretraining_samples() if sample.label == 0]
    for number, level in enumerate(module.backbone(data.read(normal).image)):
        tokens = level.movedim(1, -1).flatten(0, -2).double()
        scale = tokens.norm(dim=1).mean() if scaled else torch.tensor(1.0)
        torch.testing.assert_close(module.projector.scale[number], scale.float())
        expected = (tokens.mean(0) / scale).float()
        torch.testing.assert_close(module.centres[number].data, expected, rtol=1e-4, atol=1e-5)


def test_without_residuals_the_scale_of_references_is_refused_with_a_way_out(
    key_root: Path, tmp_path: Path
) -> None:
    chosen = ["data=folder", f"data.root={key_root}", "+experiment=ablation/no_residual"]
    with pytest.raises(Exception, match=r"model\.scale_levels to true") as caught:
        run_task(train, training(tmp_path / "run", *chosen, "model=reference_scale"))
    assert "set it to false" in (user_message(caught.value) or "")
    mended = ["model.projector.scale_by_references=false", "model.scale_levels=true"]
    config = training(tmp_path / "run", *chosen, "model=reference_scale", *mended)
    backbone = SmallBackbone()
    module = instantiate(config.model, backbone=backbone, references=ReferencePool())
    assert not module.projector.on_residuals
