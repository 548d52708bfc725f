"""UniAD: its features, training and scores against literal versions, and that it separates."""

from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from adpt.errors import UserError
from adpt.methods import UniAD
from adpt.methods.feature_sets import InMemory, Step
from adpt.methods.uniad import jitter

CPU = torch.device("cpu")
SIZE = (20, 24)
SHAPES = [(3, 2, 8), (5, 4, 6), (4, 3, 3)]


def tiny(**changed: Any) -> UniAD:
    arguments: dict[str, Any] = {
        "image_size": SIZE, "epochs": 3, "batch_size": 2, "learning_rate": 1e-3, "hidden_dim": 8,
        "num_heads": 2, "num_layers": 2, "feedforward_dim": 16, "neighbour_size": 3,
    }  # fmt: skip
    return UniAD(**(arguments | changed))


def draw(images: int = 5, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(images, *shape, generator=generator) for shape in SHAPES]


def trained(method: UniAD, folder: Path | None = None, **kwargs: Any) -> UniAD:
    method.train_on(InMemory(draw()), CPU, folder=folder, **kwargs)
    return method


def test_every_decoder_layer_learns_queries_of_its_own() -> None:
    method = tiny()
    method.remember_shapes(SHAPES)
    method.build(SHAPES)
    first, second = (layer.queries for layer in method.reconstruction.decoder)
    assert first.shape == second.shape == (24, 8)
    assert not torch.equal(first, second)
    before = [first.detach().clone(), second.detach().clone()]
    optimizers, _ = method.configure_optimizers()
    method.training_step(draw(), optimizers, Step(0, 0, 1), None)
    for layer, old in zip(method.reconstruction.decoder, before, strict=True):
        assert (layer.queries - old).abs().min() > 1e-4  # weight decay alone: 1e-7


# ---- Features --------------------------------------------------------------------------------


def test_jitter_equals_the_literal_one() -> None:
    features = torch.randn(2, 3, 4) * 10
    torch.manual_seed(5)
    found = jitter(features, 20)
    torch.manual_seed(5)
    noise = torch.randn(2, 3, 4)
    for image in range(2):
        for patch in range(3):
            vector = features[image, patch]
            deviation = 20 * vector.square().sum().sqrt() / 4
            torch.testing.assert_close(
                found[image, patch], vector + deviation * noise[image, patch]
            )
    assert torch.equal(jitter(features, 0), features)


def test_levels_are_concatenated_on_the_grid_nearest_to_16_by_16() -> None:
    method = tiny()
    shapes = [(2, 28, 28), (3, 14, 14), (1, 7, 7)]
    method.build(shapes)
    levels = [torch.randn(2, *shape) for shape in shapes]
    features = method.gather(levels)
    assert features.shape == (2, 196, 6)
    assert torch.equal(features[..., 2:5], levels[1].flatten(2).mT)
    # Corners lie on corners, and what is linear stays so.
    maps = features.mT.unflatten(2, (14, 14))
    corners = [(0, 0), (0, -1), (-1, 0), (-1, -1)]
    for y, x in corners:
        torch.testing.assert_close(maps[:, :2, y, x], levels[0][..., y, x])
        torch.testing.assert_close(maps[:, 5:, y, x], levels[2][..., y, x])
    ramp = torch.linspace(0, 1, 28).expand(1, 2, 28, 28)
    resized = method.gather([ramp, levels[1][:1], levels[2][:1]])[0, :14, 0]
    torch.testing.assert_close(resized, torch.linspace(0, 1, 14))


def test_scores_are_the_lengths_of_the_differences_upsampled() -> None:
    method, levels = trained(tiny()), draw(2, seed=1)
    features = method.gather(levels)
    difference = method.reconstruction(features) - features
    expected = difference.square().sum(2).sqrt().reshape(2, 4, 6)
    scores = method.score(levels)
    assert scores.maps.shape == (2, *SIZE)
    for y, x in [(0, 0), (0, -1), (-1, 0), (-1, -1)]:
        torch.testing.assert_close(scores.maps[:, y, x], expected[:, y, x])
    assert torch.equal(scores.image, scores.maps.flatten(1).amax(1))


@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (2, 2), (3, 3), (4, 7)])
def test_grids_of_any_size_train_to_finite_scores(grid: tuple[int, int]) -> None:
    levels = [torch.randn(3, 4, *grid)]
    method = tiny(epochs=1, neighbour_size=7)
    method.fit([levels])
    assert method.score(levels).maps.isfinite().all()


# ---- Training --------------------------------------------------------------------------------


def test_loss_is_the_squared_error_to_the_features_without_jitter() -> None:
    method = tiny(dropout=0.0)
    method.build(SHAPES)
    levels = draw(2)
    optimizers, _ = method.configure_optimizers()
    features = method.gather(levels)
    torch.manual_seed(3)
    with torch.no_grad():
        expected = (method.reconstruction(jitter(features, 20)) - features).square().mean()
    torch.manual_seed(3)
    torch.testing.assert_close(
        method.training_step(levels, optimizers, Step(0, 0, 1), None).detach(), expected
    )


def test_gradients_are_clipped() -> None:
    method = tiny()
    method.build(SHAPES)
    optimizers, _ = method.configure_optimizers()
    method.training_step([1000 * x for x in draw()], optimizers, Step(0, 0, 1), None)
    gradients = [p.grad.flatten() for p in method.parameters() if p.grad is not None]
    torch.testing.assert_close(torch.cat(gradients).norm(), torch.tensor(0.1))


def test_learning_rate_falls_to_a_tenth_after_four_fifths_of_the_epochs() -> None:
    method = tiny(epochs=10, learning_rate=1e-4)
    method.build(SHAPES)
    (optimizer,), (schedule,) = method.configure_optimizers()
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1e-4] * 8 + [1e-5] * 2)
    group = optimizer.param_groups[0]
    assert (group["betas"], group["weight_decay"]) == ((0.9, 0.999), 1e-4)


def test_what_else_draws_random_numbers_changes_no_training() -> None:
    def disturb(epochs: int, loss: float) -> None:
        torch.rand(7)

    torch.manual_seed(1)
    plain = trained(tiny()).state_dict()
    torch.manual_seed(2)
    disturbed = trained(tiny(), after_epoch=disturb).state_dict()
    assert all(torch.equal(plain[name], disturbed[name]) for name in plain)
    other = trained(tiny(seed=1)).state_dict()
    assert not torch.equal(plain["reconstruction.rows"], other["reconstruction.rows"])


class KilledError(Exception):
    """Stands for a kill."""


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    def stop(epochs: int, loss: float) -> None:
        if epochs == 4:
            raise KilledError

    whole = trained(tiny(epochs=6)).state_dict()
    with pytest.raises(KilledError):
        trained(tiny(epochs=6), tmp_path, after_epoch=stop)
    assert (tmp_path / "last.ckpt").exists()
    heard: list[int] = []
    resumed = trained(
        tiny(epochs=6), tmp_path, after_epoch=lambda epochs, loss: heard.append(epochs)
    ).state_dict()
    assert heard[0] > 1
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


# ---- Scores ----------------------------------------------------------------------------------


def test_scores_depend_neither_on_the_batch_nor_on_chance() -> None:
    method, levels = trained(tiny(dropout=0.5)), draw(6, seed=1)
    before = torch.get_rng_state()
    together = method.score(levels)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(method.score(levels).maps, together.maps)
    for index in (0, 4):
        alone = method.score([level[index : index + 1] for level in levels])
        torch.testing.assert_close(alone.maps[0], together.maps[index], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(alone.image[0], together.image[index], rtol=1e-5, atol=1e-6)


def test_a_state_loads_into_a_fresh_and_into_a_trained_method() -> None:
    method, levels = trained(tiny()), draw(2, seed=1)
    for target in (tiny(), trained(tiny(seed=3))):
        assert not target.learned_shapes() or not torch.equal(
            target.score(levels).maps, method.score(levels).maps
        )
        target.load_state_dict(method.state_dict())
        assert torch.equal(target.score(levels).maps, method.score(levels).maps)


def test_features_that_are_not_numbers_are_refused() -> None:
    levels = draw()
    levels[1][0, 0, 0, 0] = torch.nan
    with pytest.raises(UserError, match="must be finite"):
        tiny().fit([levels])


def test_scoring_before_training_says_what_to_do() -> None:
    with pytest.raises(UserError, match="call fit"):
        tiny().score(draw())


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"hidden_dim": 9}, "hidden_dim"), ({"num_heads": 3}, "num_heads"),
        ({"num_layers": 0}, "num_layers"), ({"neighbour_size": 4}, "neighbour_size"),
        ({"neighbour_size": -1}, "neighbour_size"), ({"dropout": 1.0}, "dropout"),
        ({"learning_rate": 0.0}, "learning_rate"), ({"jitter_scale": -1.0}, "jitter_scale"),
    ],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        tiny(**wrong)


# ---- Does it detect? -------------------------------------------------------------------------


class TwoClasses:
    """Images of two classes, each with a layout of its own, and defects made of the other one's.

    Whatever is normal for one class is a defect on the other: features alone tell nothing.
    """

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.layouts = torch.randn(2, 6, 8, 8, generator=generator)
        self.generator = generator

    def images(self, count: int, *, defective: bool = False) -> Tensor:
        label = torch.arange(count) % 2
        noise = 0.3 * torch.randn(count, 6, 8, 8, generator=self.generator)
        images = self.layouts[label] + noise
        if defective:
            other = self.layouts[1 - label] + noise
            for index in range(count):
                y, x = torch.randint(0, 7, (2,), generator=self.generator).tolist()
                area = (index, slice(None), slice(y, y + 2), slice(x, x + 2))
                images[area] = other[area]
        return images


def auroc(method: UniAD) -> float:
    scenes = TwoClasses()
    method.fit([[scenes.images(32)]])
    test = torch.cat([scenes.images(30), scenes.images(30, defective=True)])
    return float(roc_auc_score([0] * 30 + [1] * 30, method.score([test]).image))


SMALL: dict[str, Any] = {
    "image_size": 16, "epochs": 25, "batch_size": 8, "learning_rate": 5e-3, "hidden_dim": 32,
    "num_heads": 4,
    "num_layers": 1, "feedforward_dim": 64, "neighbour_size": 3, "jitter_scale": 2.0,
}  # fmt: skip


def test_one_model_separates_two_classes_and_an_untrained_one_does_not() -> None:
    assert auroc(tiny(**SMALL)) > 0.9
    assert auroc(tiny(**(SMALL | {"epochs": 1, "learning_rate": 1e-9}))) < 0.75
