"""CFLOW: its schedule, loss and scores against literal versions, and what it can tell apart."""

import math
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from adpt.errors import UserError
from adpt.methods import CFlow, cflow
from adpt.methods.feature_sets import InMemory, Step
from adpt.methods.flow import log_likelihood, position_encoding

SIZE = (12, 15)
SHAPES = [(4, 6, 6), (5, 6, 4), (2, 3, 3), (3, 2, 2)]
CPU = torch.device("cpu")


def draw(images: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(images, *shape, generator=generator) for shape in SHAPES]


def small(epochs: int = 2, **others: Any) -> CFlow:
    settings: dict[str, Any] = {"batch_size": 4, "patches_per_step": 32, "learning_rate": 1e-2}
    return CFlow(SIZE, epochs=epochs, **{**settings, **others})


@pytest.fixture(scope="module")
def trained() -> CFlow:
    method = small()
    method.fit([draw(6)])
    return method


def literal(method: CFlow, level: Tensor, number: int) -> Tensor:
    """Log-likelihood per channel, one patch at a time."""
    images, _, height, width = level.shape
    result = torch.zeros(images, height, width)
    for b in range(images):
        for y in range(height):
            for x in range(width):
                condition = position_encoding(height, width, 128)[None, y * width + x]
                with torch.no_grad():
                    outcome = method.flows[number](level[None, b, :, y, x], condition)
                result[b, y, x] = log_likelihood(*outcome)
    return result


# ---- Training ----------------------------------------------------------------------------------


def test_learning_rate_is_the_published_schedule() -> None:
    # 25 meta-epochs of 8 passes over 3 batches, as the original code writes it.
    top, batches = 2e-4, 3
    lowest = top * 0.1**3

    def cosine(meta_epoch: int) -> float:
        return lowest + (top - lowest) * (1 + math.cos(math.pi * meta_epoch / 25)) / 2

    for meta_epoch in range(25):
        for sub_epoch in range(8):
            for batch in range(batches):
                expected = cosine(meta_epoch)
                if meta_epoch < 2:
                    share = (batch + sub_epoch * batches + meta_epoch * 8 * batches) / (
                        2 * 8 * batches
                    )
                    expected = top / 10 + share * (cosine(2) - top / 10)
                step = Step(8 * meta_epoch + sub_epoch, batch, batches)
                found = top * cflow.relative_rate(step, 200)
                assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("epochs", [1, 7, 60])
def test_other_budgets_run_through_the_whole_schedule(epochs: int) -> None:
    rates = [
        cflow.relative_rate(Step(epoch, batch, 50), epochs)
        for epoch in range(epochs)
        for batch in range(50)
    ]
    highest = rates.index(max(rates))
    assert rates[0] == pytest.approx(0.1)
    assert rates[: highest + 1] == sorted(rates[: highest + 1])
    assert rates[highest:] == sorted(rates[highest:], reverse=True)
    assert max(rates) > 0.95


class Frozen:
    """An optimizer that changes nothing and counts its steps."""

    def __init__(self) -> None:
        self.param_groups = [{"lr": 0.0}]
        self.steps = 0

    def zero_grad(self) -> None:
        pass

    def step(self) -> None:
        self.steps += 1


def built(**settings: Any) -> CFlow:
    method = small(**settings)
    torch.manual_seed(0)
    method.build(SHAPES)
    return method


def test_loss_and_largest_likelihood_equal_the_literal_ones() -> None:
    method, levels = built(num_levels=2, patches_per_step=100), draw(3)
    found = method.training_step(levels, [Frozen()], Step(0, 0, 1), None)
    values = [literal(method, level, number) for number, level in enumerate(levels[-2:])]
    every = torch.cat([value.flatten() for value in values])
    expected = sum(math.log1p(math.exp(-value)) for value in every.tolist()) / len(every)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(
        method.max_log_likelihood, torch.stack([value.max() for value in values])
    )


def test_the_loss_falls_along_its_gradient() -> None:
    method, levels = built(num_levels=1, patches_per_step=100), draw(3)
    before = literal(method, levels[-1], 0)
    method.training_step(levels, [Frozen()], Step(0, 0, 1), None)
    gradients = [parameter.grad for parameter in method.parameters()]
    values = list(method.parameters())
    expected = torch.autograd.grad(F.softplus(-_all_likelihoods(method, levels[-1])).mean(), values)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(gradients, expected, strict=True))
    with torch.no_grad():
        for value, gradient in zip(values, expected, strict=True):
            value -= 1e-3 * gradient
    assert F.softplus(-literal(method, levels[-1], 0)).mean() < F.softplus(-before).mean()


def _all_likelihoods(method: CFlow, level: Tensor) -> Tensor:
    _, channels, height, width = level.shape
    rows = level.permute(0, 2, 3, 1).reshape(-1, channels)
    return log_likelihood(
        *method.flows[0](rows, position_encoding(height, width, 128).repeat(3, 1))
    )


@pytest.mark.parametrize(
    ("patches", "steps"), [(7, 24 // 7 + 12 // 7 + 9 // 7), (24, 1 + 1 + 1), (1000, 3)]
)
def test_a_level_takes_a_step_for_each_full_part_and_at_least_one(patches: int, steps: int) -> None:
    # One image: 24, 9 and 4 patches; the last two have fewer than a part or just about one.
    method, optimizer = built(patches_per_step=patches), Frozen()
    method.training_step(draw(1), [optimizer], Step(0, 0, 1), None)
    assert optimizer.steps == steps


def test_the_largest_likelihood_is_that_of_the_latest_epoch() -> None:
    method, levels = built(patches_per_step=100), draw(2)
    far = [10 * level for level in levels]
    for step, batch in ((Step(0, 0, 2), levels), (Step(0, 1, 2), far)):
        method.training_step(batch, [Frozen()], step, None)
    near = method.max_log_likelihood.clone()
    method.training_step(far, [Frozen()], Step(1, 0, 2), None)
    assert (method.max_log_likelihood < near).all()
    method.training_step(levels, [Frozen()], Step(1, 1, 2), None)
    torch.testing.assert_close(method.max_log_likelihood, near)


def test_levels_share_nothing() -> None:
    levels = draw(4)
    # The third level is the first of the two that are used.
    methods = [small(epochs=1, num_levels=2) for _ in range(2)]
    for method, factor in zip(methods, (1, 5), strict=True):
        method.fit([[*levels[:2], factor * levels[2], levels[3]]])
    first, second = ([list(flow.state_dict().values()) for flow in m.flows] for m in methods)
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first[0], second[0], strict=True))


class KilledError(Exception):
    """Stands for a kill."""


def test_an_interrupted_training_goes_on_to_the_same_result(tmp_path: Path) -> None:
    def stop(epochs: int, loss: float) -> None:
        if epochs == 3:
            raise KilledError

    heard: list[int] = []
    whole, resumed = small(epochs=4), small(epochs=4)
    whole.train_on(InMemory(draw(6)), CPU)
    with pytest.raises(KilledError):
        small(epochs=4).train_on(InMemory(draw(6)), CPU, folder=tmp_path, after_epoch=stop)
    resumed.train_on(
        InMemory(draw(6)), CPU, folder=tmp_path, after_epoch=lambda epochs, _: heard.append(epochs)
    )
    assert heard[0] > 1
    assert heard[-1] == 4
    expected, found = whole.state_dict(), resumed.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_scores_can_be_taken_after_every_epoch() -> None:
    heard: list[float] = []
    method, test = small(epochs=3), draw(2, seed=1)
    method.train_on(
        InMemory(draw(6)),
        CPU,
        after_epoch=lambda _, __: heard.append(method.score(test).maps.mean().item()),
    )
    assert len(set(heard)) == 3
    assert all(math.isfinite(value) for value in heard)


def test_features_that_are_not_numbers_are_refused() -> None:
    train = draw(3)
    train[-1][0, 0, 0, 0] = torch.nan
    with pytest.raises(UserError, match=r"loss became nan in epoch 1"):
        small().fit([train])


# ---- Scores ------------------------------------------------------------------------------------


def test_scores_order_pixels_as_the_originals_do(trained: CFlow) -> None:
    test = draw(3, seed=1)
    total = torch.zeros(3, *SIZE, dtype=torch.float64)
    for number, level in enumerate(test[-3:]):
        relative = literal(trained, level, number) - trained.max_log_likelihood[number]
        likelihood = relative.double().exp()[:, None]
        total += F.interpolate(likelihood, size=SIZE, mode="bilinear", align_corners=True)[:, 0]
    scores = trained.score(test)
    torch.testing.assert_close((-scores.maps.double()).exp() * 3, total, rtol=1e-4, atol=0)
    # The original's: the largest value less the value.
    original = (total.max() - total).flatten()
    ordered = original[scores.maps.flatten().argsort()]
    assert (ordered.diff() > -1e-5).all()
    torch.testing.assert_close(scores.image, scores.maps.flatten(1).amax(1), rtol=0, atol=0)


def test_score_of_an_image_is_the_same_alone_in_any_batch_and_in_any_chunk(
    trained: CFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = draw(5, seed=1)
    # One image is far from all that is normal: the others must not notice.
    for level in levels:
        level[3] *= 20
    together = trained.score(levels)
    backwards = trained.score([level.flip(0) for level in levels])
    torch.testing.assert_close(backwards.maps.flip(0), together.maps, rtol=1e-5, atol=1e-5)
    for image in range(5):
        alone = trained.score([level[image : image + 1] for level in levels])
        torch.testing.assert_close(alone.maps[0], together.maps[image], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(alone.image[0], together.image[image], rtol=1e-5, atol=1e-5)
    monkeypatch.setattr(cflow, "_CHUNK_NUMBERS", 1)
    torch.testing.assert_close(trained.score(levels).maps, together.maps, rtol=1e-5, atol=1e-5)


def test_very_unlikely_patches_keep_finite_scores_and_their_order(trained: CFlow) -> None:
    normal = draw(1, seed=1)
    images = [trained.score([factor * level for level in normal]).image for factor in (1, 9, 18)]
    assert images[0] < images[1] < images[2]
    extreme = trained.score([1e6 * level for level in normal])
    assert extreme.maps.isfinite().all()
    assert extreme.image >= images[2]


def test_autocast_and_inference_mode_change_nothing(trained: CFlow) -> None:
    test = draw(2, seed=1)
    plain = trained.score(test)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        reduced = trained.score(test)
    assert torch.equal(reduced.maps, plain.maps)
    assert not plain.maps.requires_grad


def test_half_precision_features_are_scored_in_single_precision(trained: CFlow) -> None:
    halves = [level.half() for level in draw(2, seed=1)]
    found = trained.score(halves).maps
    assert torch.equal(found, trained.score([level.float() for level in halves]).maps)


def test_all_levels_are_used_where_there_are_fewer() -> None:
    method = small(epochs=1, num_levels=9)
    method.fit([draw(3)])
    assert len(method.flows) == len(SHAPES)
    assert method.score(draw(2, seed=1)).maps.shape == (2, *SIZE)


@pytest.mark.parametrize("known", ["nothing", "other shapes"])
def test_state_survives_saving_and_loading(trained: CFlow, known: str) -> None:
    test = draw(3, seed=1)
    file = BytesIO()
    torch.save(trained.state_dict(), file)
    file.seek(0)
    other = small()
    if known != "nothing":
        other.fit([[torch.randn(2, 6, 3, 3), torch.randn(2, 2, 2, 2)]])
    other.load_state_dict(torch.load(file))
    assert torch.equal(other.score(test).maps, trained.score(test).maps)
    assert other.state_dict().keys() == trained.state_dict().keys()


@pytest.mark.parametrize(
    "wrong", [{"patches_per_step": 0}, {"num_levels": 0}, {"learning_rate": 0}, {"epochs": 0}]
)
def test_numbers_that_are_not_positive_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        small(**wrong)


# ---- What it can tell apart --------------------------------------------------------------------


def image_auroc(train: Tensor, test: Tensor, truth: list[int], epochs: int = 8) -> float:
    method = CFlow(24, epochs=epochs, batch_size=24, patches_per_step=32, learning_rate=1e-2)
    # As evaluation calls it.
    with torch.no_grad():
        method.fit([[train]])
    return float(roc_auc_score(truth, method.score([test]).image))


def test_separates_features_out_of_place_which_shuffled_positions_cannot() -> None:
    generator = torch.Generator().manual_seed(0)
    layout = 2 * torch.randn(1, 5, 6, 6, generator=generator)

    def images(count: int) -> Tensor:
        return layout + 0.3 * torch.randn(count, 5, 6, 6, generator=generator)

    train, normal, anomalous = images(24), images(20), images(20)
    # Normal features in the wrong places: only a model of positions can tell.
    anomalous[:, :, 2:4, 2:4] = anomalous[:, :, 4:6, 0:2]
    test, truth = torch.cat([normal, anomalous]), [0] * 20 + [1] * 20
    shuffled = torch.stack(
        [one.flatten(1)[:, torch.randperm(36, generator=generator)].view(5, 6, 6) for one in train]
    )
    assert image_auroc(train, test, truth) > 0.95
    assert image_auroc(shuffled, test, truth) < 0.75


def test_training_beats_the_start() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.linspace(0.05, 3, 6)[:, None, None]

    def images(count: int) -> Tensor:
        return spread * torch.randn(count, 6, 4, 4, generator=generator)

    train, normal, anomalous = images(24), images(20), images(20)
    # A shift that is nothing against the widest channel, and much for the narrowest.
    anomalous[:, 0, 1:3, 1:3] += 0.5
    test, truth = torch.cat([normal, anomalous]), [0] * 20 + [1] * 20
    untrained = CFlow(24)
    torch.manual_seed(0)
    untrained.remember_shapes([(6, 4, 4)])
    untrained.build([(6, 4, 4)])
    untrained.max_log_likelihood.zero_()
    assert roc_auc_score(truth, untrained.score([test]).image) < 0.7
    assert image_auroc(train, test, truth) > 0.9
