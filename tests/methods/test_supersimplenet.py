"""SuperSimpleNet: its original's numbers, literal losses, and that it separates."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from adpt.methods import SuperSimpleNet, supersimplenet
from adpt.methods.feature_sets import Step
from adpt.methods.supersimplenet import focal, hinge, perlin_areas
from filled import fill, numbers


def tiny(**changed: Any) -> SuperSimpleNet:
    arguments: dict[str, Any] = {"image_size": (20, 24), "epochs": 2, "hidden_dim": 8}
    return SuperSimpleNet(**(arguments | changed))


# Of its code at github.com/blaz-r/SuperSimpleNet (60d1e74): two levels in place of the network's,
# areas of noise given, weights as `fill` has them; losses of three steps, image logits after them,
# and every fourth pixel of the maps, away from the border, which they mirror otherwise.
LOSSES = [1.197425, 1.092651, 1.041247]
IMAGES = [0.2986962, 0.3038654]
MAPS = [
    0.00999634,
    0.01003702,
    0.01008614,
    0.01013346,
    0.01016846,
    0.01000096,
    0.01004508,
    0.01009,
    0.01012736,
    0.01015241,
    0.01001583,
    0.01005234,
    0.01008256,
    0.01010413,
    0.01011939,
    0.01002683,
    0.0100473,
    0.01006017,
    0.01007022,
    0.01008452,
    0.01013741,
    0.01013195,
    0.01011733,
    0.01008521,
    0.01003966,
    0.01014963,
    0.01014262,
    0.01012148,
    0.01008075,
    0.01003108,
    0.0101582,
    0.01014474,
    0.01011596,
    0.01007355,
    0.0100305,
    0.01016488,
    0.01014413,
    0.01011235,
    0.01007627,
    0.01004524,
]


def test_training_and_scores_are_the_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = (numbers(4, 1, 8, 10, shift=0.4) > 0.3).float()
    noisy[1] = 0
    monkeypatch.setattr(supersimplenet, "perlin_areas", lambda *_: noisy)
    levels = [numbers(2, 3, 4, 5, shift=0.2) + 0.5, numbers(2, 4, 2, 3, shift=0.9) - 0.2]
    method = tiny(image_size=(40, 44), hidden_dim=6)
    method.remember_shapes([(3, 4, 5), (4, 2, 3)])
    method.build([(3, 4, 5), (4, 2, 3)])
    optimizers, _ = fill(method, 0.1).configure_optimizers()
    losses = []
    for number in range(3):
        torch.manual_seed(number)
        losses.append(float(method.training_step(levels, optimizers, Step(0, number, 3), None)))
    torch.testing.assert_close(losses, LOSSES, rtol=1e-6, atol=0)
    scores = method.score(levels)
    # Adam makes steps of one size of rounding errors, where batch norm takes a bias out.
    torch.testing.assert_close(scores.image, torch.tensor(IMAGES), rtol=0, atol=5e-4)
    pixels = scores.maps[:, 13:-13:4, 13:-13:4].flatten()
    torch.testing.assert_close(pixels, torch.tensor(MAPS), rtol=0, atol=5e-4)


def test_losses_equal_the_literal_ones() -> None:
    logits, noisy = torch.randn(4, 1, 3, 3) * 2, torch.rand(4, 1, 3, 3).round()
    without, within, focused = [], [], []
    for logit, one in zip(logits.flatten().tolist(), noisy.flatten().tolist(), strict=True):
        chance = 1 / (1 + math.exp(-logit))
        right = chance if one else 1 - chance
        focused.append(-math.log(right) * (1 - right) ** 4)
        (within if one else without).append(max(0, 0.5 - logit if one else 0.5 + logit))
    expected = sum(without) / len(without) + sum(within) / len(within)
    assert float(hinge(logits, noisy)) == pytest.approx(expected, rel=1e-5)
    assert float(focal(logits, noisy)) == pytest.approx(sum(focused) / len(focused), rel=1e-4)
    alone = hinge(logits, torch.zeros_like(noisy))
    assert float(alone) == pytest.approx(float((logits + 0.5).clamp_min(0).mean()), rel=1e-5)


def test_half_of_the_areas_are_empty_and_the_seed_decides() -> None:
    torch.manual_seed(0)
    areas = perlin_areas(200, (9, 14), 0.2)
    assert areas.shape == (200, 1, 9, 14)
    assert set(areas.unique().tolist()) == {0.0, 1.0}
    assert 0.4 < float((areas.sum((1, 2, 3)) == 0).float().mean()) < 0.6
    torch.manual_seed(0)
    assert torch.equal(areas, perlin_areas(200, (9, 14), 0.2))


def test_lattices_have_up_to_32_cells_down_and_across(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()

    def noise(_: Any, shape: tuple[int, int], cells: tuple[int, int]) -> Any:
        seen.add(cells)
        return np.zeros(shape)

    monkeypatch.setattr(supersimplenet, "perlin_noise", noise)
    torch.manual_seed(0)
    perlin_areas(400, (2, 3), 0.2)
    sides = [1, 2, 4, 8, 16, 32]
    assert {down for down, _ in seen} == {across for _, across in seen} == set(sides)
    assert len(seen) > len(sides)


def test_decay_of_the_heads_is_the_originals() -> None:
    method = tiny()
    method.build([(3, 2, 2)])
    (optimizer,), _ = method.configure_optimizers()
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-2, 1e-5, 1e-5]


@pytest.mark.parametrize("shapes", [[(4, 1, 1)], [(4, 1, 5)], [(3, 4, 6), (5, 2, 3), (4, 2, 2)]])
def test_levels_of_any_shape_train_to_finite_scores(shapes) -> None:
    levels = [torch.randn(3, *shape) for shape in shapes]
    method = tiny()
    method.fit([levels])
    scores = method.score(levels)
    assert scores.maps.shape == (3, 20, 24)
    assert scores.maps.isfinite().all()
    alone = method.score([level[1:2] for level in levels])
    torch.testing.assert_close(alone.maps[0], scores.maps[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone.image[0], scores.image[1], rtol=1e-4, atol=1e-5)


def test_learning_rates_fall_twice() -> None:
    method = tiny(epochs=10)
    method.build([(3, 2, 2)])
    (optimizer,), (schedule,) = method.configure_optimizers()
    rates = []
    for _ in range(10):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    assert rates[0] == rates[7] == [1e-4, 2e-4, 2e-4]
    assert rates[8] == pytest.approx([4e-5, 8e-5, 8e-5])
    assert rates[9] == pytest.approx([1.6e-5, 3.2e-5, 3.2e-5])


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"num_levels": 0}, "num_levels"), ({"hidden_dim": 0}, "hidden_dim"),
        ({"noise_std": 0.0}, "noise_std"), ({"learning_rate": 0.0}, "learning_rate"),
        ({"perlin_threshold": 1.0}, "perlin_threshold"),
    ],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        tiny(**wrong)


def test_it_separates_defects() -> None:
    generator = torch.Generator().manual_seed(0)
    layout = torch.randn(1, 6, 8, 8, generator=generator) / 4

    def images(count: int, *, defective: bool = False) -> Tensor:
        made = layout + 0.02 * torch.randn(count, 6, 8, 8, generator=generator)
        if defective:
            made[:, :, 2:5, 3:6] += torch.randn(count, 6, 3, 3, generator=generator) / 2
        return made

    method = tiny(epochs=15, batch_size=8, learning_rate=2e-3, noise_std=0.2, hidden_dim=32)
    method.fit([[images(24)]])
    scores = method.score([torch.cat([images(20), images(20, defective=True)])])
    assert roc_auc_score([0] * 20 + [1] * 20, scores.image) > 0.9
    inside = scores.maps[20:, 6:11, 10:16].mean()
    assert inside > scores.maps[:20].mean()


@pytest.mark.parametrize("relative", [True, False])
def test_relative_noise_is_as_long_as_the_features_ask(
    relative: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for factor in (1, 1000):
        torch.manual_seed(0)
        method = tiny(noise_std=0.5, relative_noise=relative)
        shapes = [(3, 8, 8), (4, 4, 4)]
        method.remember_shapes(shapes)
        method.build(shapes)
        optimizers, _ = method.configure_optimizers()
        levels = [factor * torch.randn(2, *shape) for shape in shapes]
        given: list[Tensor] = []
        monkeypatch.setattr(method, "logits", _noting(method.logits, given))
        torch.manual_seed(1)
        with torch.no_grad():
            plain = method.adaptor(method.embed(levels)).repeat(2, 1, 1, 1)
        method.training_step(levels, optimizers, Step(0, 0, 1), None)
        seen.append((given[0] - plain) / plain.std())
    assert torch.allclose(seen[0], seen[1], atol=1e-4) is relative
    strength = seen[0][seen[0] != 0].std() * (1 if relative else plain.std() / 1000)
    assert float(strength) == pytest.approx(0.5, rel=0.1)


def test_relative_noise_teaches_as_noise_of_that_strength_does() -> None:
    def step(**noise: Any) -> tuple[Tensor, float]:
        torch.manual_seed(0)
        method = tiny(learning_rate=1e-2, **noise)
        shapes = [(3, 8, 8), (4, 4, 4)]
        method.remember_shapes(shapes)
        method.build(shapes)
        optimizers, _ = method.configure_optimizers()
        levels = [9 * torch.randn(2, *shape) for shape in shapes]
        with torch.no_grad():
            unit = float(method.adaptor(method.embed(levels)).repeat(2, 1, 1, 1).std())
        gradients: list[Tensor] = []
        method.adaptor.weight.register_hook(gradients.append)
        torch.manual_seed(1)
        method.training_step(levels, optimizers, Step(0, 0, 1), None)
        return gradients[0], unit

    found, unit = step(noise_std=0.5, relative_noise=True)
    expected, _ = step(noise_std=0.5 * unit)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def _noting(function: Any, given: list[Tensor]) -> Any:
    def noted(features: Tensor) -> Any:
        given.append(features.detach())
        return function(features)

    return noted
