"""The loop around trained methods: order, randomness, interruption, state."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import warm
from adpt.errors import UserError
from adpt.methods.base import Scores
from adpt.methods.feature_sets import Defects, InMemory, Optimizers, Step
from adpt.methods.learned import Shape
from adpt.methods.trained import TrainedMethod


class Mean(TrainedMethod):
    """Learns the mean feature of the first level, with noise of its own."""

    def __init__(self, epochs: int = 3, seed: int = 0, batch_size: int = 2) -> None:
        super().__init__(8, epochs, batch_size, seed)
        self.seen: list[list[float]] = []
        self.noise: list[float] = []

    def build(self, shapes: Sequence[Shape]) -> None:
        self.mean = nn.Parameter(torch.randn(shapes[0][0]))

    def configure_optimizers(self) -> Optimizers:
        optimizer = torch.optim.Adam([self.mean], lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]

    def training_step(
        self,
        levels: list[Tensor],
        optimizers: Sequence[torch.optim.Optimizer],
        step: Step,
        defects: Defects | None,
    ) -> Tensor:
        self.seen.append(levels[0][:, 0, 0, 0].tolist())
        noise = torch.randn(len(levels[0]), levels[0].shape[1])
        self.noise.append(float(noise[0, 0]))
        noisy = levels[0].mean((2, 3)) + 0.1 * noise
        loss = (noisy - self.mean).square().mean()
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        return loss

    def score(self, levels: list[Tensor]) -> Scores:
        self.check_fitted(levels)
        maps = (levels[0] - self.mean[:, None, None]).square().sum(1)
        return Scores(maps, maps.amax((1, 2)))


CPU = torch.device("cpu")


def features(count: int = 5) -> InMemory:
    numbers = torch.arange(count, dtype=torch.float32)
    return InMemory([numbers[:, None, None, None].expand(count, 3, 4, 4).clone()])


def trained(method: Mean, folder: Path | None = None) -> Mean:
    method.train_on(features(), CPU, folder=folder)
    return method


def test_every_epoch_sees_each_image_once_in_an_order_of_its_own() -> None:
    method = trained(Mean())
    epochs = [method.seen[start : start + 3] for start in (0, 3, 6)]
    flat = [[value for batch in epoch for value in batch] for epoch in epochs]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in flat)
    assert flat[0] != flat[1] or flat[1] != flat[2]


def test_every_step_draws_noise_of_its_own() -> None:
    method = trained(Mean())
    assert len({*method.noise, *trained(Mean(seed=1)).noise}) == 2 * len(method.noise) == 18


def test_the_same_seed_gives_the_same_result_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = trained(Mean(seed=1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(first.mean, trained(Mean(seed=1)).mean)
    assert not torch.equal(first.mean, trained(Mean(seed=2)).mean)


def test_fit_on_batches_is_training_on_what_they_hold() -> None:
    method = Mean()
    method.fit([level] for level in features().levels[0].split(2))
    assert torch.equal(method.mean, trained(Mean()).mean)


class KilledError(Exception):
    """Stands for a kill."""


def test_an_interrupted_training_goes_on_to_the_same_result(tmp_path: Path) -> None:
    def stop(epochs: int, loss: float) -> None:
        if epochs == 3:
            raise KilledError

    whole = trained(Mean(epochs=5))
    method = Mean(epochs=5)
    with pytest.raises(KilledError):
        method.train_on(features(), CPU, folder=tmp_path, after_epoch=stop)
    assert (tmp_path / "last.ckpt").exists()
    resumed = trained(Mean(epochs=5), tmp_path)
    assert len(resumed.seen) < len(whole.seen)
    assert torch.equal(resumed.mean, whole.mean)
    assert not (tmp_path / "last.ckpt").exists()


def test_the_caller_hears_of_every_epoch_and_may_score() -> None:
    heard: list[int] = []
    method = Mean()

    def after(epochs: int, loss: float) -> None:
        assert loss > 0
        assert not method.training
        method.score(features().levels)
        heard.append(epochs)

    method.train_on(features(), CPU, after_epoch=after)
    assert heard == [1, 2, 3]


def test_a_state_loads_into_a_fresh_and_into_a_trained_method() -> None:
    method = trained(Mean())
    fresh, other = Mean(), trained(Mean(seed=3))
    for target in (fresh, other):
        target.load_state_dict(method.state_dict())
        assert torch.equal(
            target.score(features().levels).maps, method.score(features().levels).maps
        )


def test_scoring_before_training_or_with_other_levels_says_what_to_do() -> None:
    with pytest.raises(UserError, match="call fit"):
        Mean().score(features().levels)
    with pytest.raises(UserError, match="was trained on"):
        trained(Mean()).score([torch.zeros(1, 4, 4, 4)])


def test_methods_come_without_lightning() -> None:
    script = "import sys, adpt.methods, adpt.methods.trained; print('lightning' in sys.modules)"
    done = warm.run([sys.executable, "-c", script], lean=True, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_no_images_are_refused() -> None:
    with pytest.raises(UserError, match="at least one normal image"):
        Mean().fit([])
