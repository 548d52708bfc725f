"""Pretraining: labels, centres, a step, and runs that are repeated, resumed or disturbed."""

import itertools
import logging
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from adpt.data import Folder
from adpt.errors import BadImageError, UserError
from adpt.pretraining import Pretraining, gather, patch_labels, separation
from adpt.pretraining.metrics_log import MetricsLog
from adpt.pretraining.reference_pool import ReferencePool
from adpt.residual import residual_features
from drawn import draw_folder
from runs import fitted, folder_data, pretraining, rows, state, trainer
from small import ShortFeatures


@pytest.fixture
def key_root(tmp_path: Path) -> Path:
    """One product: 6 + 3 normal images, 3 with a defect; two steps of 6 an epoch."""
    return draw_folder(tmp_path / "own", ("key",))


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> int:
    return sum(not torch.equal(value, second[name]) for name, value in first.items())


# ---- Labels ---------------------------------------------------------------------------------


def random_masks(side: int, images: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(side)
    share = torch.linspace(0.01, 0.4, images).view(-1, 1, 1)
    return torch.rand(images, side, side, generator=generator) < share


def covered_pixels(masks: Tensor, grid: int) -> list[int]:
    side = masks.shape[-1] // grid
    return [
        int(mask[side * row : side * (row + 1), side * column : side * (column + 1)].sum())
        for mask in masks
        for row in range(grid)
        for column in range(grid)
    ]


@pytest.mark.parametrize(
    ("side", "grid", "more_than"),
    [(224, 16, 32), (224, 14, 32), (224, 7, 32), (224, 28, 64 * 32 / 196), (48, 12, 16 * 32 / 196)],
)
def test_labels_for_the_angle_count_mask_pixels(side: int, grid: int, more_than: float) -> None:
    masks = random_masks(side)
    expected = [pixels > more_than for pixels in covered_pixels(masks, grid)]
    assert patch_labels(masks, (grid, grid))[0].tolist() == expected
    assert 0 < sum(expected) < len(expected)


@pytest.mark.parametrize("pixels", [32, 33])
def test_33_of_196_pixels_make_a_patch_anomalous_and_32_do_not(pixels: int) -> None:
    masks = torch.zeros(1, 224, 224, dtype=torch.bool)
    patch = torch.arange(196).view(14, 14) < pixels
    masks[0, 14:28, 42:56] = patch
    labels = patch_labels(masks, (16, 16))[0].view(16, 16)
    assert bool(labels[1, 3]) == (pixels == 33)
    assert labels.sum() == (pixels == 33)


@pytest.mark.parametrize(("side", "grid"), [(224, 16), (224, 14), (48, 12), (48, 3)])
def test_labels_for_the_norm_are_the_nearest_mask_pixel(side: int, grid: int) -> None:
    masks = random_masks(side)
    step = side / grid
    nearest = [int(step * place) for place in range(grid)]
    expected = [bool(mask[row, column]) for mask in masks for row in nearest for column in nearest]
    assert patch_labels(masks, (grid, grid))[1].tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_labels_come_in_the_order_of_the_features() -> None:
    masks = torch.zeros(2, 32, 48, dtype=torch.bool)
    masks[1, 16:32, 32:48] = True
    for labels in patch_labels(masks, (2, 3)):
        assert labels.tolist() == [False] * 11 + [True]


def test_labels_of_no_images() -> None:
    covered, touched = patch_labels(torch.zeros(0, 32, 32, dtype=torch.bool), (2, 2))
    assert covered.shape == touched.shape == (0,)


def test_gather_changes_nothing_in_a_single_process() -> None:
    values = torch.randn(3, 2)
    assert gather(values) is values


def test_separation_of_known_features() -> None:
    features = torch.tensor([[3.0, 1.0], [5.0, 1.0], [1.0, 7.0]])
    found = separation(features, torch.tensor([False, False, True]), torch.tensor([1.0, 1.0]), 2)
    assert found["angle/normal_to_anomalous_2"].item() == pytest.approx(90, abs=1e-3)
    assert found["norm/normal_2"].item() == pytest.approx((10**0.5 + 26**0.5) / 2)
    assert found["norm/anomalous_2"].item() == pytest.approx(50**0.5)
    assert "angle/normal_to_anomalous_2" not in separation(
        features, torch.zeros(3, dtype=torch.bool), torch.zeros(2), 2
    )


# ---- Centres --------------------------------------------------------------------------------


def literal_residuals(data: Folder, module: Pretraining, label: int = 0) -> list[list[Tensor]]:
    """Residual tokens (T, C) of every image, level by level, with the run's own draws."""
    found: list[list[Tensor]] = [[], []]
    module.references.redraw(0)
    for sample in data.pretraining_samples():
        if sample.label != label:
            continue
        image = data.read([sample]).image
        references = module.references.draw([str(sample.image)], 4)
        for level, (own, drawn) in enumerate(zip(module.backbone(image), references, strict=True)):
            tokens = own[0].flatten(1).T
            for token in tokens:
                similarity = torch.cosine_similarity(token[None], drawn[0], dim=-1)
                found[level].append(token - drawn[0, similarity.argmax()])
    return found


@pytest.mark.parametrize("scaled", [False, True])
def test_centres_are_mean_residual_features_of_normal_images(
    folder_root: Path, scaled: bool
) -> None:
    data = folder_data(folder_root)
    module, _ = fitted(data, pretraining(scale_levels=scaled), limit_train_batches=1)
    for level, residuals in enumerate(literal_residuals(data, module)):
        tokens = torch.stack(residuals).double()
        scale = tokens.norm(dim=1).mean() if scaled else torch.tensor(1.0)
        torch.testing.assert_close(module.projector.scale[level], scale.float())
        expected = (tokens.mean(0) / scale).float()
        torch.testing.assert_close(module.centres[level].data, expected, rtol=1e-4, atol=1e-5)
        assert expected.norm() > 1e-3


def test_scaled_levels_have_residuals_of_length_one(folder_root: Path) -> None:
    data = folder_data(folder_root)
    module, _ = fitted(data, pretraining(scale_levels=True), limit_train_batches=1)
    for level, residuals in enumerate(literal_residuals(data, module)):
        scaled = torch.stack(residuals) / module.projector.scale[level]
        assert scaled.norm(dim=1).mean().item() == pytest.approx(1, rel=1e-4)


def test_centres_of_some_images_a_class(folder_root: Path) -> None:
    class Counting(ShortFeatures):
        images = 0

        def levels(self, images: Tensor) -> list[Tensor]:
            self.images += len(images)
            return super().levels(images)

    data = folder_data(folder_root)
    seen = {}
    for centre_images in (2, None):
        backbone = Counting()
        module = pretraining(backbone=backbone, centre_images=centre_images)
        before = []

        class Look(Callback):
            def on_train_start(self, *_) -> None:
                before.append(backbone.images)  # noqa: B023

        fitted(data, module, callbacks=[Look()], limit_train_batches=1)
        # One blank image for the pool's size, and a pool of 4 of both classes.
        seen[centre_images] = before[0] - 1 - 8
    assert seen == {2: 4, None: 18}


# ---- A step ---------------------------------------------------------------------------------


def test_a_step_is_both_losses_of_both_views_over_the_levels(key_root: Path) -> None:
    """The loss once more from its parts, outside of Lightning."""
    data = folder_data(key_root)
    losses: list[Tensor] = []
    batches = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
            batches.append(batch)

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
            losses.append(outputs["loss"])

    module = pretraining()
    fresh = {name: value.clone() for name, value in module.projector.state_dict().items()}
    fitted(data, module, callbacks=[Watch()], max_steps=1)
    module.projector.load_state_dict(fresh)
    batch = batches[0]
    assert batch.mask.any()
    shots = module.references.draw_shots(0)
    references = module.references.draw(batch.path, shots)
    expected = torch.zeros(())
    for number in (0, 1):
        views = []
        for view in (0, 1):
            levels = residual_features(module.backbone(batch.image[:, view]), references)
            level = module.projector(levels)[number]
            views.append(level.permute(0, 2, 3, 1).reshape(-1, level.shape[1]))
        covered, touched = patch_labels(batch.mask, (6, 6) if number == 0 else (3, 3))
        expected = expected + module.angle_loss(*views, covered, module.centres[number])
        expected = expected + sum(module.norm_loss(view, touched) for view in views)
    torch.testing.assert_close(losses[0], expected.detach(), rtol=1e-5, atol=1e-5)


def test_references_cost_no_pass_through_the_backbone_in_a_step(key_root: Path) -> None:
    calls: list[int] = []

    class Counting(ShortFeatures):
        def levels(self, images: Tensor) -> list[Tensor]:
            calls.append(len(images))
            return super().levels(images)

    class Steps(Callback):
        def on_train_batch_start(self, *_) -> None:
            calls.clear()

        def on_train_batch_end(self, *_) -> None:
            made.append(list(calls))

    made: list[list[int]] = []
    fitted(
        folder_data(key_root),
        pretraining(backbone=Counting()),
        callbacks=[Steps()],
        max_epochs=2,
    )
    assert [sum(counts) for counts in made] == [12] * 4


def test_fresh_references_train_too(key_root: Path) -> None:
    module = pretraining(references=ReferencePool(pool_size=None, shots=(1, 2)))
    start = state(module)
    fitted(folder_data(key_root), module)
    assert differing(start, state(module)) > 10
    assert all(value.isfinite().all() for value in state(module).values())


def test_the_backbone_learns_nothing_and_the_projector_all(key_root: Path) -> None:
    module = pretraining()
    backbone = {name: value.clone() for name, value in module.backbone.state_dict().items()}
    start = {name: value.clone() for name, value in module.projector.named_parameters()}
    fitted(folder_data(key_root), module)
    assert_same(backbone, dict(module.backbone.state_dict()))
    now = dict(module.projector.named_parameters())
    assert [name for name in start if torch.equal(start[name], now[name])] == []


def test_batches_without_an_anomaly_are_counted_and_train_the_norm_alone(
    tmp_path: Path,
) -> None:
    root = draw_folder(tmp_path / "own", ("key",), defects=())

    def data() -> Folder:
        # The share is above 0, so training starts, and too small for a defect to be drawn.
        return folder_data(root, synthetic_defects=1e-9)

    module = pretraining()
    _, used = fitted(data(), module, max_steps=1)
    metrics = used.callback_metrics
    assert metrics["data/batches_without_anomalies"] == 1
    assert [metrics[f"loss/angle_{level}"].item() for level in (1, 2)] == [0, 0]
    assert metrics["loss/norm_1"] > 0
    # The angle loss stays attached to the graph: with it alone every gradient is there, and is 0.
    alone = pretraining(norm_loss=None)
    start = state(alone)
    fitted(data(), alone, max_steps=1)
    assert all(parameter.grad is not None for parameter in alone.projector.parameters())
    same = {name for name, value in state(alone).items() if torch.equal(value, start[name])}
    assert {name for name in start if name.startswith("projector")} <= same


def test_images_without_any_defect_are_refused(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "own", ("key",), defects=())
    with pytest.raises(UserError, match="synthetic_defects"):
        fitted(folder_data(root))


def test_batches_with_anomalies_are_not_counted(key_root: Path) -> None:
    data = folder_data(key_root, batch_size=12)
    _, used = fitted(data)
    assert used.callback_metrics["data/batches_without_anomalies"] == 0
    assert used.callback_metrics["loss/angle_1"] != 0


@pytest.mark.parametrize("kept", ["angle", "norm"])
def test_one_loss_can_be_left_out(key_root: Path, kept: str) -> None:
    left_out = {"angle": "norm", "norm": "angle"}[kept]
    _, used = fitted(folder_data(key_root), pretraining(**{f"{left_out}_loss": None}))
    assert f"loss/{kept}_1" in used.callback_metrics
    assert f"loss/{left_out}_1" not in used.callback_metrics


def test_every_figure_is_logged_in_every_epoch(key_root: Path, tmp_path: Path) -> None:
    """Two steps an epoch and every third step logged: no fixed step of an epoch would do."""
    logger = MetricsLog(tmp_path)
    fitted(folder_data(key_root), logger=logger, max_epochs=6, log_every_n_steps=3)
    logged = rows(tmp_path / "metrics.csv")
    assert [int(row["step"]) for row in logged] == [2, 5, 8, 11]
    assert all(row["norm/normal_1"] and row["norm/normal_2"] for row in logged)
    assert any(row["angle/normal_to_anomalous_1"] for row in logged)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_what_a_step_cannot_measure_is_blank(
    key_root: Path, tmp_path: Path, accumulated: int
) -> None:
    """A step without an anomalous patch has neither their norm nor an angle to them."""
    anomalous: list[bool] = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
            if (batch_idx + 1) % accumulated == 0:
                anomalous.append(bool(patch_labels(batch.mask, (6, 6))[1].any()))

    fitted(
        folder_data(key_root, batch_size=1),
        logger=MetricsLog(tmp_path),
        callbacks=[Watch()],
        max_epochs=2,
        accumulate_grad_batches=accumulated,
    )
    logged = rows(tmp_path / "metrics.csv")
    assert [int(row["step"]) for row in logged] == list(range(len(anomalous)))
    assert all(row["loss/total"] for row in logged)
    assert (True, False) in itertools.pairwise(anomalous)
    for figure in ("norm/anomalous_1", "angle/normal_to_anomalous_1"):
        assert [bool(row[figure]) for row in logged] == anomalous


# ---- Files that cannot be read --------------------------------------------------------------


def damage(root: Path) -> Path:
    image = root / "key" / "train" / "good" / "001.png"
    image.write_bytes(b"")
    return image


def test_broken_images_are_skipped_and_counted(
    key_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage(key_root)
    module, used = fitted(folder_data(key_root))
    assert used.callback_metrics["data/skipped_images"] == 1
    assert int(module.skipped_images) == 1
    assert used.global_step == 2
    assert "train/good/001.png (class 'key') cannot be read" in caplog.text


class NeverEmpty(ShortFeatures):
    """Refuses an empty batch, as timm's transformers do."""

    def levels(self, images: Tensor) -> list[Tensor]:
        if not len(images):
            raise RuntimeError("an empty batch")
        return super().levels(images)


def test_a_batch_of_broken_images_alone_is_survived(key_root: Path) -> None:
    damage(key_root)
    for pool_size in (4, None):
        references = ReferencePool(pool_size=pool_size, shots=(1, 2))
        module, used = fitted(
            folder_data(key_root, batch_size=1),
            pretraining(references=references, backbone=NeverEmpty()),
        )
        assert used.global_step == 12
        assert int(module.skipped_images) == 1
        assert all(value.isfinite().all() for value in state(module).values())


def test_on_bad_image_raise_stops_with_one_line(key_root: Path) -> None:
    image = damage(key_root)
    with pytest.raises(BadImageError) as caught:
        fitted(folder_data(key_root, on_bad_image="raise"))
    assert str(image) in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- Runs that are repeated and resumed -----------------------------------------------------


def test_same_seed_same_result_and_another_seed_another(key_root: Path) -> None:
    first, again, other = (
        state(fitted(folder_data(key_root, seed=seed), pretraining(seed))[0]) for seed in (0, 0, 1)
    )
    assert_same(first, again)
    assert differing(first, other) > 10


def test_the_order_of_images_depends_on_the_data_modules_seed(key_root: Path) -> None:
    first, other = (
        state(fitted(folder_data(key_root, seed=seed), pretraining())[0]) for seed in (0, 1)
    )
    assert differing(first, other) > 10


def test_the_number_of_workers_changes_nothing(key_root: Path) -> None:
    alone, helped = (
        state(fitted(folder_data(key_root, num_workers=workers), max_epochs=2)[0])
        for workers in (0, 2)
    )
    assert_same(alone, helped)


def adam(**options: float) -> dict:
    return {"optimizer": lambda params: torch.optim.Adam(params, lr=1e-3, **options)}


@pytest.mark.parametrize("pool_size", [4, None])
def test_resumed_training_equals_uninterrupted(
    key_root: Path, tmp_path: Path, pool_size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(epochs: int, ckpt_path: str | None = None) -> Pretraining:
        # A fresh start, as after a crash: other random weights, until the checkpoint is loaded.
        module = pretraining(
            7 if ckpt_path else 0,
            references=ReferencePool(pool_size=pool_size, shots=(1, 2)),
            scale_levels=True,
            **adam(),
        )
        saving = ModelCheckpoint(tmp_path / f"{epochs}{bool(ckpt_path)}", save_last=True)
        fitted(
            folder_data(key_root),
            module,
            max_epochs=epochs,
            ckpt_path=ckpt_path,
            enable_checkpointing=True,
            callbacks=[saving],
        )
        return module

    whole, interrupted = run(3), run(1)
    monkeypatch.setattr(
        Pretraining, "compute_centres", lambda *_: pytest.fail("centres computed again")
    )
    resumed = run(3, str(tmp_path / "1False" / "last.ckpt"))
    assert_same(state(whole), state(resumed))
    assert differing(state(interrupted), state(resumed)) > 10


def test_checkpoints_hold_no_backbone_and_need_none(key_root: Path, tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path / "checkpoints", save_last=True)
    module, _ = fitted(
        folder_data(key_root), max_steps=1, enable_checkpointing=True, callbacks=[saving]
    )
    content = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert not [name for name in content["state_dict"] if name.startswith("backbone")]
    assert set(content["state_dict"]) == set(state(module))
    assert {"centres.0", "centres.1", "centred", "projector.scale"} <= set(content["state_dict"])


def test_a_checkpoint_of_other_levels_is_not_loaded(key_root: Path, tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path / "checkpoints", save_last=True)
    fitted(folder_data(key_root), max_steps=1, enable_checkpointing=True, callbacks=[saving])
    other = pretraining(backbone=ShortFeatures(levels=(1, 2)))
    with pytest.raises(UserError, match="other levels"):
        trainer().fit(
            other,
            datamodule=folder_data(key_root),
            ckpt_path=str(tmp_path / "checkpoints" / "last.ckpt"),
        )


def test_nothing_of_a_run_depends_on_the_global_random_state(key_root: Path) -> None:
    results = []
    for disturbed in (False, True):
        module = pretraining()
        if disturbed:
            torch.manual_seed(99)
        results.append(state(fitted(folder_data(key_root), module)[0]))
    assert_same(*results)


def test_learning_rate_follows_the_schedule_epoch_by_epoch(
    key_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    rates = []

    class Watch(Callback):
        def on_train_epoch_start(self, trainer, module) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    fitted(folder_data(key_root), max_epochs=4, callbacks=[Watch()])
    assert rates == pytest.approx([0.05, 0.05, 0.005, 0.005])
