"""ResAD: its original's numbers, literal parts, and that what it learned holds elsewhere."""

import math
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from adpt.errors import UserError
from adpt.methods import ResAD
from adpt.methods.feature_sets import InMemory, Labels, Step
from adpt.methods.resad import matched, smoothed_focal
from filled import fill, numbers

SHAPES = [(6, 6, 8), (8, 3, 4), (10, 3, 4)]


def tiny(**changed: Any) -> ResAD:
    arguments: dict[str, Any] = {
        "image_size": (20, 24), "epochs": 3, "normal_epochs": 1, "batch_size": 2, "num_blocks": 2,
        "patches_per_step": 24, "num_codes": 5, "learning_rate": 1e-2,
    }  # fmt: skip
    return ResAD(**(arguments | changed))


def built(method: ResAD) -> ResAD:
    """Weights by formula, the rotations of the flows too."""
    method.remember_shapes(SHAPES)
    method.build(SHAPES)
    fill(method, 0.3, ones="raw_scale")
    for flow in method.flows:
        for number, block in enumerate(flow.blocks):
            size = len(block.rotation)
            q, r = torch.linalg.qr(numbers(size, size, shift=number + 0.3).double())
            block.rotation.copy_(q * r.diagonal().sign())
    return method


# Of its code at github.com/xcyao00/ResAD (0afc30e): codebooks, convolutions, losses, training of
# the flows and score maps, with FrEIA 0.2, on residuals and weights by formula. A step without
# anomalies in the first stage and two with some; its losses, those of the flows as the mean over a
# level's steps, those of codebooks without the part that has no gradient; the boundaries after
# them; the largest log-likelihoods of the images scored; and pixels of the merged maps less their
# mean, every fifth down, every fourth across.
LOSSES = [27.427224, 79.514368, 76.029852]
BOUNDARIES = [-2.3080788, -1.2719340, -1.2930350]
LARGEST = [-2.9720078, -4.0054040, -4.6231699]
MAPS = [
    -0.0120154, -0.0058617, 0.003729239, 0.00617148, -0.00285393, -0.01616107, -0.006126747,
    0.0007534474, 0.01107182, 0.01326613, 0.00377132, -0.009495065, -0.003252581, 0.004300639,
    0.01509334, 0.01672862, 0.006998673, -0.005440101, -0.009841248, -0.002436802, 0.007725775,
    0.008595362, -0.0007062256, -0.01145084, -0.0123564, -0.00620991, 0.003387839, 0.005904049,
    -0.003000557, -0.01618887, -0.006864086, 0.0001314133, 0.01078396, 0.01349528, 0.004275069,
    -0.009174198, -0.004163578, 0.003578678, 0.0149547, 0.01745813, 0.008094028, -0.004832327,
    -0.01015744, -0.002643377, 0.007870212, 0.009264782, 0.0001187474, -0.01109885,
]  # fmt: skip


def residuals() -> list[Tensor]:
    return [(n + 1) * numbers(2, *shape, shift=0.3 * n) for n, shape in enumerate(SHAPES)]


def masks() -> Tensor:
    found = torch.zeros(2, 20, 24, dtype=torch.bool)
    found[1, 5:12, 6:15] = True
    return found


def test_training_and_maps_are_the_originals() -> None:
    method = built(tiny())
    optimizers, _ = method.configure_optimizers()
    losses = []
    for epoch, marked in enumerate((torch.zeros_like(masks()), masks(), masks())):
        torch.manual_seed(epoch)
        step = Step(epoch, 0, 1)
        losses.append(float(method.training_step(residuals(), optimizers, step, ([], marked))))
    torch.testing.assert_close(losses, LOSSES, rtol=1e-5, atol=0)
    torch.testing.assert_close(method.boundaries.tolist(), BOUNDARIES, rtol=1e-5, atol=0)
    # The original is relative to the images that it scores.
    method.max_log_likelihood.copy_(torch.tensor(LARGEST))
    maps = method.score(residuals()).maps
    shown = (maps - maps.mean())[:, ::5, ::4].flatten()
    torch.testing.assert_close(shown, torch.tensor(MAPS), rtol=0, atol=2e-5)


def test_first_epochs_leave_anomalous_images_out() -> None:
    one, other = built(tiny()), built(tiny())
    for method, levels, marked in (
        (one, residuals(), masks()),
        (other, [level[:1] for level in residuals()], masks()[:1]),
    ):
        torch.manual_seed(0)
        optimizers, _ = method.configure_optimizers()
        method.training_step(levels, optimizers, Step(0, 0, 1), ([], marked))
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], rtol=0, atol=0)


def test_batches_of_one_kind_leave_the_weights_finite() -> None:
    every = torch.ones(2, 20, 24, dtype=torch.bool)
    for epoch, marked in ((0, every), (1, every), (2, ~every)):
        method = built(tiny())
        optimizers, _ = method.configure_optimizers()
        found = method.training_step(residuals(), optimizers, Step(epoch, 0, 1), ([], marked))
        assert found.isfinite()
        assert all(value.isfinite().all() for value in method.parameters())


def test_without_labels_it_says_what_it_needs() -> None:
    with pytest.raises(UserError, match="train_data=<set>"):
        tiny().fit([residuals()])


def test_features_move_in_the_order_of_each_channel() -> None:
    features, codes = torch.randn(2, 3, 2, 4), torch.randn(5, 3)
    found = matched(features, codes, 0.6)
    for image in range(2):
        patches = features[image].flatten(1).T
        nearest = [min(codes, key=lambda c, p=p: float((c - p).square().sum())) for p in patches]
        for channel in range(3):
            own = [float(patch[channel]) for patch in patches]
            targets = sorted(float(code[channel]) for code in nearest)
            order = sorted(range(8), key=own.__getitem__)
            expected = [0.0] * 8
            for rank, place in enumerate(order):
                expected[place] = 0.4 * own[place] + 0.6 * targets[rank]
            given = found[image, channel].flatten().tolist()
            assert given == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(matched(features, codes, 0.0), features)


def test_focal_loss_equals_the_literal_one() -> None:
    logits = torch.randn(20) * 3
    chances = [1 / (1 + math.exp(-logit)) for logit in logits.tolist()]
    smooth = [(1 - 1e-5) * c + 1e-5 * (1 - c) + 1e-5 for c in chances]
    expected = sum(-((1 - c) ** 2) * math.log(c) for c in smooth) / len(smooth)
    assert float(smoothed_focal(logits)) == pytest.approx(expected, rel=1e-5)


def test_rates_fall_twice_and_both_optimizers_decay() -> None:
    method = built(tiny(epochs=10))
    optimizers, schedules = method.configure_optimizers()
    rates = []
    for _ in range(10):
        rates.append([group["lr"] for one in optimizers for group in one.param_groups])
        for one, schedule in zip(optimizers, schedules, strict=True):
            one.step()
            schedule.step()
    assert rates[6] == [1e-2, 1e-2]
    assert rates[8] == pytest.approx([1e-3, 1e-3])
    assert rates[9] == pytest.approx([1e-4, 1e-4])
    assert [one.param_groups[0]["weight_decay"] for one in optimizers] == [5e-4, 5e-4]
    count = sum(len(group["params"]) for one in optimizers for group in one.param_groups)
    assert count == len(list(method.parameters()))


@pytest.mark.parametrize("num_codes", [0, 5])
def test_a_state_loads_and_an_images_scores_are_its_own(num_codes: int) -> None:
    method = tiny(num_codes=num_codes, epochs=2)
    method.train_on(InMemory(residuals()), torch.device("cpu"), defects=Labels(masks()))
    scores = method.score(residuals())
    other = tiny(num_codes=num_codes, epochs=2)
    other.load_state_dict(method.state_dict())
    again = other.score([level[1:] for level in residuals()])
    torch.testing.assert_close(again.maps[0], scores.maps[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(again.image[0], scores.maps[1].max(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"num_levels": 0}, "num_levels"), ({"patches_per_step": 0}, "patches_per_step"),
        ({"num_blocks": 0}, "num_blocks"), ({"learning_rate": 0.0}, "learning_rate"),
        ({"normal_epochs": -1}, "normal_epochs"), ({"num_codes": -1}, "num_codes"),
        ({"matching": 1.1}, "matching"),
    ],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        tiny(**wrong)


def test_defects_that_it_never_saw_are_found() -> None:
    generator = torch.Generator().manual_seed(0)

    def images(count: int, channels: slice) -> tuple[list[Tensor], Tensor]:
        """Residuals of images, half of them long in some channels of a square."""
        made = 0.3 * torch.randn(count, 8, 8, 8, generator=generator)
        marked = torch.zeros(count, 16, 16, dtype=torch.bool)
        for number in range(count // 2):
            made[number, channels, 2:5, 3:6] += 1.5
            marked[number, 4:10, 6:12] = True
        return [made], marked

    levels, marked = images(24, slice(0, 4))
    method = tiny(
        image_size=16, epochs=12, batch_size=8, learning_rate=5e-3, patches_per_step=256,
        num_codes=16,
    )  # fmt: skip
    method.train_on(InMemory(levels), torch.device("cpu"), defects=Labels(marked))
    levels, marked = images(20, slice(4, 8))
    scores = method.score(levels)
    assert roc_auc_score(marked.flatten(1).any(1), scores.image) > 0.9
    assert scores.maps[marked].mean() > scores.maps[~marked].mean()
