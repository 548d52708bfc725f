"""GLASS: synthesis and a step of training against literal versions, and what is learned."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from adpt.errors import UserError
from adpt.methods import Glass, glass
from adpt.methods.feature_sets import InMemory, Step
from adpt.methods.glass_sampling import ascend, hard_focal_loss, truncate

CPU = torch.device("cpu")
SHAPES = [(4, 10, 10), (12, 8, 8), (20, 4, 4)]
SIZE = 64


def made(**changes: Any) -> Glass:
    options = {"epochs": 30, "embedding_dim": 64, "hidden_dim": 64, "ascent_steps": 5}
    return Glass(SIZE, **({"batch_size": 4, "learning_rate": 2e-3} | options | changes))


def normal(images: int, seed: int) -> list[Tensor]:
    """One material all over, in widely varying brightness, with a little noise."""
    fixed = torch.Generator().manual_seed(7)
    generator = torch.Generator().manual_seed(seed)
    levels = []
    for channels, height, width in SHAPES:
        material = torch.randn(channels, 1, 1, generator=fixed)
        brightness = 1 + torch.randn(images, 1, height, width, generator=generator)
        noise = 0.1 * torch.randn(images, channels, height, width, generator=generator)
        levels.append(brightness * material + noise)
    return levels


def spoiled(images: int, seed: int) -> tuple[list[Tensor], Tensor]:
    """Normal images with a square where the features are shifted at random, and its masks."""
    generator = torch.Generator().manual_seed(100 + seed)
    levels = normal(images, seed)
    masks = torch.zeros(images, SIZE, SIZE, dtype=torch.bool)
    for image in range(images):
        top, left = (16 * torch.randint(0, 4, (2,), generator=generator)).tolist()
        masks[image, top : top + 16, left : left + 16] = True
        for level in levels:
            cells = F.adaptive_max_pool2d(masks[image][None].float(), level.shape[-2:])[0]
            level[image] += torch.randn(level.shape[1], 1, 1, generator=generator) * cells
    return levels, masks


class Pool:
    """Defects, the same in every epoch."""

    def __init__(self, images: int) -> None:
        self.levels, self.masks = spoiled(images, 0)

    def start_epoch(self, epoch: int) -> None:
        """Nothing is drawn anew."""

    def read(self, rows: Sequence[int]) -> tuple[list[Tensor], Tensor]:
        rows = list(rows)
        return [level[rows] for level in self.levels], self.masks[rows]


def trained(
    images: int = 16, defects: bool = True, folder: Path | None = None, **changes: Any
) -> Glass:
    method = made(**changes)
    pool = Pool(images) if defects else None
    method.train_on(InMemory(normal(images, 0)), CPU, defects=pool, folder=folder)
    return method


def pixel_auroc(method: Glass) -> float:
    levels, masks = spoiled(10, 50)
    return float(roc_auc_score(masks.flatten(), method.score(levels).maps.flatten()))


# ---- Synthesis -------------------------------------------------------------------------------


def test_a_step_of_ascent_equals_the_literal_version() -> None:
    torch.manual_seed(0)
    points, weight = torch.randn(6, 5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)

    def loss(at: Tensor) -> Tensor:
        values = (at - at.mean(0)) @ weight  # As batch norm does, points depend on each other.
        return F.binary_cross_entropy_with_logits(values, torch.ones(6, dtype=torch.float64))

    found = ascend(points, loss, 0.01)
    for row in range(6):
        gradient = torch.empty(5, dtype=torch.float64)
        for column in range(5):
            ends = []
            for sign in (1, -1):
                moved = points.clone()
                moved[row, column] += sign * 1e-6
                ends.append(loss(moved))
            gradient[column] = (ends[0] - ends[1]) / 2e-6
        expected = points[row] + 0.01 * gradient / gradient.norm()
        torch.testing.assert_close(found[row], expected, rtol=1e-6, atol=1e-8)
    assert loss(found) > loss(points)
    torch.testing.assert_close((found - points).norm(dim=1), torch.full((6,), 0.01).double())


def test_the_step_of_ascent_is_a_constant_for_the_gradient() -> None:
    points = torch.randn(4, 3, requires_grad=True)
    ascend(points, lambda at: at.square().sum(), 0.1).sum().backward()
    torch.testing.assert_close(points.grad, torch.ones(4, 3))


def test_truncation_puts_points_into_the_shell_and_keeps_their_direction() -> None:
    torch.manual_seed(0)
    origins = torch.randn(400, 8)
    lengths = torch.rand(400, 1) * 4
    offsets = lengths * F.normalize(torch.randn(400, 8))
    moved = truncate(origins + offsets, origins, 1.0, torch.tensor(2.0)) - origins
    norms = moved.norm(dim=1)
    assert norms.min() > 1 - 1e-5
    assert norms.max() < 2 + 1e-5
    torch.testing.assert_close(F.cosine_similarity(moved, offsets), torch.ones(400))
    inside = (lengths[:, 0] > 1) & (lengths[:, 0] < 2)
    assert 50 < inside.sum() < 350
    torch.testing.assert_close(moved[inside], offsets[inside])
    assert torch.equal(truncate(origins, origins, 1.0, 2.0), origins)


@pytest.mark.parametrize("dropped", [0.0, 0.5, 0.9])
def test_focal_loss_equals_the_literal_version(dropped: float) -> None:
    torch.manual_seed(0)
    scores, anomalous = torch.rand(41), torch.rand(41) < 0.3
    errors = [abs(s - float(a)) for s, a in zip(scores.tolist(), anomalous.tolist(), strict=True)]
    kept = sorted(range(41), key=lambda i: errors[i])[round(dropped * 40) :]
    total = 0.0
    for i in kept:
        classes = (1 - scores[i], scores[i])
        wanted = [1e-5, 1e-5]
        wanted[int(anomalous[i])] = 1 - 1e-5
        right = wanted[0] * classes[0] + wanted[1] * classes[1] + 1e-5
        total += float(-((1 - right) ** 2) * torch.log(right))
    found = hard_focal_loss(scores, anomalous, dropped)
    assert found.item() == pytest.approx(total / len(kept), rel=1e-5)


def test_focal_loss_is_finite_for_scores_that_are_surely_wrong() -> None:
    scores = torch.tensor([1.0, 0.0], requires_grad=True)
    loss = hard_focal_loss(scores, torch.tensor([False, True]), 0.0)
    loss.backward()
    assert loss.isfinite()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


# ---- A step of training ----------------------------------------------------------------------


def literal_loss(
    method: Glass, levels: list[Tensor], drawn: list[Tensor], masks: Tensor, noise: Tensor
) -> Tensor:
    """The loss of a batch, in the authors' order of things, patch by patch where they differ."""
    net = method.discriminator
    adapt = method.adaptor

    def scores(rows: Tensor) -> Tensor:
        return torch.sigmoid(
            net.out(F.leaky_relu(net.norm(F.linear(rows, net.hidden.weight, net.hidden.bias)), 0.2))
        )[:, 0]

    embedded, spoilt = method.embed(levels), method.embed(drawn)
    images, patches, _ = embedded.shape
    centre = torch.stack([adapt(embedded[:, p]).mean(0) for p in range(patches)]).detach()
    true = torch.cat([adapt(embedded[i]) for i in range(images)])
    fake = torch.cat([adapt(spoilt[i]) for i in range(images)])
    centres = torch.cat([centre] * images)
    side = round(patches**0.5)
    cell = SIZE // side
    bad = torch.tensor(
        [
            bool(masks[i, y * cell : (y + 1) * cell, x * cell : (x + 1) * cell].any())
            for i in range(images)
            for y in range(side)
            for x in range(side)
        ]
    )
    distances = [(row - c).norm() for row, c in zip(true, centres, strict=True)]
    distances += [(row - c).norm() for row, c, b in zip(fake, centres, bad, strict=True) if not b]
    radius = torch.quantile(torch.stack(distances).detach(), 0.75)
    sphere = method.hypothesis == "hypersphere"
    count = len(true)
    points = true + noise
    ones, zeros = torch.ones(count), torch.zeros(count)
    for number in range(method.ascent_steps):
        at = points.detach().requires_grad_()
        both = scores(torch.cat([true.detach(), at]))
        gradient = torch.autograd.grad(F.binary_cross_entropy(both[count:], ones), at)[0]
        points = points + 0.001 * gradient / (gradient.norm(dim=1, keepdim=True) + 1e-10)
        if (number + 1) % 5 == 0:
            origin = centres if sphere else true
            least = radius if sphere else torch.tensor(0.5)
            placed = []
            for point, start in zip(points, origin, strict=True):
                length = (point - start).norm()
                placed.append(start + (point - start) / length * length.clamp(least, 2 * least))
            points = torch.stack(placed)
    both = scores(torch.cat([true, points]))
    loss = F.binary_cross_entropy(both[:count], zeros) + F.binary_cross_entropy(both[count:], ones)
    if sphere:
        placed = []
        for row, c, b in zip(fake, centres, bad, strict=True):
            length = (row - c).norm()
            pushed = c + (row - c) / length * length.clamp(2 * radius, 4 * radius)
            placed.append(pushed if b else row)
        fake = torch.stack(placed)
    return loss + hard_focal_loss(scores(fake), bad, 0.5)


@pytest.mark.parametrize("hypothesis", ["hypersphere", "manifold"])
@pytest.mark.parametrize("adaptor", [True, False])
def test_loss_and_gradient_of_a_step_equal_the_literal_version(
    hypothesis: Any, adaptor: bool
) -> None:
    torch.manual_seed(0)
    method = made(hypothesis=hypothesis, adaptor=adaptor, ascent_steps=10, noise_std=0.1)
    method.build(SHAPES)
    levels = normal(3, 0)
    drawn, masks = spoiled(3, 1)
    method._mean = method.embed(levels).mean(0)
    torch.manual_seed(3)
    noise = 0.1 * torch.randn(3 * 64, 64)
    expected = literal_loss(method.train(), levels, drawn, masks, noise)
    learned = [method.discriminator.out.weight, method.discriminator.hidden.weight]
    if adaptor:
        learned.append(method.adaptor.weight)
    gradients = torch.autograd.grad(expected, learned)
    torch.manual_seed(3)
    optimizers, _ = method.configure_optimizers()
    found = method.training_step(levels, optimizers, Step(0, 0, 1), (drawn, masks))
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-6)
    for parameter, gradient in zip(learned, gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


def test_centres_are_the_means_of_what_the_adaptor_makes_at_the_start_of_the_epoch() -> None:
    method = trained(images=6, epochs=1).requires_grad_(True)
    levels = normal(6, 0)
    with torch.no_grad():
        expected = method.adaptor(method.embed(levels)).mean(0)
    optimizers, _ = method.configure_optimizers()
    method.training_step(levels, optimizers, Step(1, 0, 1), None)
    torch.testing.assert_close(method._centre, expected, rtol=1e-4, atol=1e-5)
    method.training_step(levels, optimizers, Step(1, 1, 1), None)
    torch.testing.assert_close(method._centre, expected, rtol=1e-4, atol=1e-5)


# ---- What it learns --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good() -> float:
    """Pixel AUROC of the method as it should be, on features that need no adaptor."""
    return pixel_auroc(trained(adaptor=False))


@pytest.fixture(scope="module")
def alone() -> float:
    """The same with global synthesis only."""
    return pixel_auroc(trained(adaptor=False, defects=False))


def test_it_finds_defects_and_drawn_ones_help(good: float, alone: float) -> None:
    assert good > 0.9
    assert 0.7 < alone < good - 0.05


def test_untrained_it_is_worse(alone: float) -> None:
    method = made(adaptor=False)
    method.remember_shapes(SHAPES)
    torch.manual_seed(0)
    method.build(SHAPES)
    assert pixel_auroc(method) < alone - 0.1


def test_without_its_shell_global_synthesis_is_worse(
    monkeypatch: pytest.MonkeyPatch, alone: float
) -> None:
    monkeypatch.setattr(glass, "truncate", lambda points, *_: points)
    assert pixel_auroc(trained(adaptor=False, defects=False)) < alone - 0.1


def test_scores_do_not_depend_on_the_batch() -> None:
    method = trained(epochs=2)
    levels, _ = spoiled(5, 50)
    together = method.train().score(levels)
    for image in range(5):
        alone = method.train().score([level[image : image + 1] for level in levels])
        torch.testing.assert_close(alone.maps[0], together.maps[image])
        torch.testing.assert_close(alone.image[0], together.image[image])


def test_image_score_is_the_largest_patch_score_and_scores_are_probabilities() -> None:
    scores = trained(epochs=2).score(spoiled(4, 50)[0])
    assert scores.maps.shape == (4, SIZE, SIZE)
    assert scores.maps.min() >= 0
    assert scores.image.max() <= 1
    assert (scores.image >= scores.maps.amax((1, 2))).all()


@pytest.mark.parametrize("adaptor", [True, False])
def test_a_state_loads_into_a_fresh_method(adaptor: bool) -> None:
    method = trained(epochs=2, adaptor=adaptor)
    fresh = made(adaptor=adaptor)
    fresh.load_state_dict(method.state_dict())
    levels, _ = spoiled(3, 50)
    assert torch.equal(fresh.score(levels).maps, method.score(levels).maps)
    assert any(name.startswith("adaptor") for name in method.state_dict()) == adaptor


class KilledError(Exception):
    """Stands for a kill."""


def test_an_interrupted_training_goes_on_to_the_same_result(tmp_path: Path) -> None:
    def stop(epochs: int, loss: float) -> None:
        if epochs == 3:
            raise KilledError

    whole = trained(epochs=5)
    method = made(epochs=5)
    with pytest.raises(KilledError):
        method.train_on(
            InMemory(normal(16, 0)), CPU, defects=Pool(16), folder=tmp_path, after_epoch=stop
        )
    assert (tmp_path / "last.ckpt").exists()
    resumed = trained(epochs=5, folder=tmp_path).state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed[name], value), name


def test_seed_decides_the_result() -> None:
    first, same, other = (trained(epochs=1, seed=seed) for seed in (1, 1, 2))
    weights = [method.discriminator.out.weight for method in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_last_levels_are_used_or_all_there_are() -> None:
    method = trained(epochs=1)
    levels, _ = spoiled(2, 50)
    changed = [torch.randn_like(levels[0]), *levels[1:]]
    assert torch.equal(method.score(changed).maps, method.score(levels).maps)
    every = made(num_levels=5, epochs=1)
    every.fit([normal(4, 0)])
    assert not torch.equal(every.score(changed).maps, every.score(levels).maps)


def test_without_adaptor_only_the_discriminator_learns() -> None:
    method = made(adaptor=False)
    method.build(SHAPES)
    optimizers, _ = method.configure_optimizers()
    assert len(optimizers) == 1
    assert isinstance(method.adaptor, nn.Identity)


# ---- Errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"embedding_dim": 0}, "embedding_dim is 0"),
        ({"hidden_dim": 0}, "hidden_dim is 0"),
        ({"num_levels": 0}, "num_levels is 0"),
        ({"noise_std": 0.0}, "noise_std is 0.0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"ascent_steps": 7}, "ascent_steps is 7"),
        ({"ascent_steps": 0}, "ascent_steps is 0"),
        ({"hypothesis": "cube"}, "hypothesis is 'cube'"),
    ],
)
def test_arguments_out_of_range_are_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        made(**changes)


def test_features_that_are_not_finite_are_refused() -> None:
    levels = normal(4, 0)
    levels[1][2, 0, 0, 0] = torch.nan
    with pytest.raises(UserError, match="must be finite"):
        made().fit([levels])


def test_no_images_are_refused() -> None:
    with pytest.raises(UserError, match="at least one normal image"):
        made().fit([])
