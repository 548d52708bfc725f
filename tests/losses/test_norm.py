"""The norm loss against its literal formula, cases computed by hand and extreme features."""

import math

import pytest
import torch
from torch import Tensor

import oracles
from adpt.losses import NormContrastiveLoss
from adpt.losses.norm import norm_score


def of_score(*scores: float) -> Tensor:
    """Features (N, 4) with given A = sqrt(‖x‖ + 1) - 1, each in a direction of its own."""
    directions = torch.randn(len(scores), 4, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([(score + 1) ** 2 - 1 for score in scores])
    return lengths[:, None] * torch.nn.functional.normalize(directions, dim=-1)


def weighted_softplus(violation: float) -> float:
    return math.log(1 + math.exp(violation)) * math.exp(violation)


def gradient(loss: Tensor, features: Tensor) -> Tensor:
    return torch.autograd.grad(loss, features)[0]


LABELS = {
    "both": [0, 1, 0, 0, 1, 0, 0, 0],
    "only normal": [0] * 8,
    "only anomalous": [1] * 8,
    "one normal": [1, 1, 1, 1, 0, 1, 1, 1],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("size", [0.1, 0.5, 1.0, 5.0])
@pytest.mark.parametrize(("radius", "margin"), [(0.4, 0.75), (1.5, 0.0)])
def test_value_and_gradient_are_those_of_the_literal_formula(
    labels: list[int], size: float, radius: float, margin: float
) -> None:
    features = size * torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    features.requires_grad_()
    anomalous = torch.tensor(labels)
    ours = NormContrastiveLoss(radius, margin)(features, anomalous)
    literal = oracles.norm_loss(features, anomalous, radius, margin)
    assert ours.item() == pytest.approx(literal.item(), rel=1e-5)
    torch.testing.assert_close(
        gradient(ours, features), gradient(literal, features), rtol=1e-4, atol=1e-6
    )


def test_score_is_the_compressed_norm() -> None:
    features = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, -8.0]])
    torch.testing.assert_close(norm_score(features), torch.tensor([6**0.5 - 1, 0.0, 2.0]))
    assert norm_score(features[None, None]).shape == (1, 1, 3)


def test_normal_patches_beyond_the_outer_radius() -> None:
    loss = NormContrastiveLoss()(of_score(0.9, 1.4), torch.zeros(2))
    expected = (weighted_softplus(0.5) + weighted_softplus(1.0)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_normal_patches_within_the_inner_radius() -> None:
    loss = NormContrastiveLoss()(of_score(0.196, 0.096), torch.zeros(2))
    expected = (weighted_softplus(0.2) + weighted_softplus(0.3)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_anomalous_patches_short_of_the_margin() -> None:
    loss = NormContrastiveLoss()(of_score(0.65, 1.0), torch.ones(2))
    expected = (weighted_softplus(0.5) + weighted_softplus(0.15)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_nearest_anomalous_patch_draws_the_radii_in() -> None:
    # r_max = 0.9·0.2, r_min = 0.99·r_max, b = r_max + 0.75.
    features = of_score(0.2, 0.08, 0.68)
    loss = NormContrastiveLoss()(features, torch.tensor([1, 0, 0]))
    expected = (
        weighted_softplus(0.93 - 0.2)
        + weighted_softplus(0.99 * 0.18 - 0.08)
        + weighted_softplus(0.68 - 0.18)
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_patches_where_they_belong_cost_nothing() -> None:
    features = of_score(0.398, 0.399, 1.16, 7.0).requires_grad_()
    loss = NormContrastiveLoss()(features, torch.tensor([0, 0, 1, 1]))
    assert loss.item() == 0
    torch.testing.assert_close(gradient(loss, features), torch.zeros_like(features))


def test_each_mean_is_over_its_own_subset() -> None:
    loss = NormContrastiveLoss()
    alone = loss(of_score(0.9), torch.zeros(1))
    among = loss(of_score(0.9, 0.398, 0.398, 2.0), torch.tensor([0, 0, 0, 1]))
    assert among.item() == pytest.approx(alone.item(), rel=1e-5)


def test_radius_carries_no_gradient() -> None:
    features = of_score(0.2, 0.08, 0.68).requires_grad_()
    anomalous = torch.tensor([1, 0, 0])
    ours = gradient(NormContrastiveLoss()(features, anomalous), features)
    without = gradient(oracles.norm_loss(features, anomalous), features)
    attached = oracles.norm_loss(features, anomalous, radius_has_gradient=True)
    torch.testing.assert_close(ours, without, rtol=1e-4, atol=1e-6)
    assert (ours - gradient(attached, features)).abs().max() > 0.1


def test_no_patches_give_zero_attached_to_the_graph() -> None:
    features = torch.zeros(0, 4, requires_grad=True)
    loss = NormContrastiveLoss()(features, torch.zeros(0))
    assert loss.item() == 0
    assert gradient(loss, features).shape == (0, 4)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("size", [0.0, 1e-8, 1e4, 1e9])
def test_extreme_features_give_finite_loss_and_gradient(labels: list[int], size: float) -> None:
    features = size * torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    features.requires_grad_()
    loss = NormContrastiveLoss()(features, torch.tensor(labels))
    assert loss.isfinite()
    assert gradient(loss, features).isfinite().all()


def test_sizes_of_every_kind_in_one_batch_give_finite_gradient() -> None:
    features = of_score(0.0, 1e-8, 0.4, 200.0, 0.0, 1e-8, 0.4, 200.0).requires_grad_()
    loss = NormContrastiveLoss()(features, torch.tensor([0] * 4 + [1] * 4))
    assert loss.isfinite()
    assert gradient(loss, features).isfinite().all()


@pytest.mark.parametrize("score", [60.0, 600.0])
def test_gradient_of_long_normal_patches_fits_adams_second_moment(score: float) -> None:
    features = of_score(score).requires_grad_()
    squared = gradient(NormContrastiveLoss()(features, torch.zeros(1)), features).square()
    assert squared.isfinite().all()
    assert squared.sum() > 0


def test_weight_is_the_formula_s_up_to_the_largest_exponent() -> None:
    loss = NormContrastiveLoss()(of_score(0.4 + 39.5), torch.zeros(1))
    assert loss.item() == pytest.approx(weighted_softplus(39.5), rel=1e-3)
    beyond = NormContrastiveLoss()(of_score(0.4 + 50), torch.zeros(1))
    assert beyond.item() == pytest.approx(50 * math.exp(40), rel=1e-3)


def test_order_of_patches_does_not_matter() -> None:
    features = torch.randn(8, 5, generator=torch.Generator().manual_seed(2))
    anomalous = torch.tensor(LABELS["both"])
    order = torch.tensor([3, 1, 7, 0, 5, 2, 6, 4])
    loss = NormContrastiveLoss()
    torch.testing.assert_close(loss(features[order], anomalous[order]), loss(features, anomalous))


def test_directions_do_not_matter() -> None:
    features = torch.randn(8, 5, generator=torch.Generator().manual_seed(3))
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(4))).Q
    anomalous = torch.tensor(LABELS["both"])
    loss = NormContrastiveLoss()
    torch.testing.assert_close(loss(features @ rotation, anomalous), loss(features, anomalous))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_features_are_computed_in_float32(
    dtype: torch.dtype, autocast: bool
) -> None:
    features = torch.randn(8, 5, generator=torch.Generator().manual_seed(5)).to(dtype)
    features.requires_grad_()
    anomalous = torch.tensor(LABELS["both"])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = NormContrastiveLoss()(features, anomalous)
    assert loss.dtype == torch.float32
    exact = oracles.norm_loss(features, anomalous)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
    assert gradient(loss, features).dtype == dtype


@pytest.mark.parametrize(("radius", "margin"), [(0.0, 0.75), (-0.4, 0.75), (0.4, -0.1)])
def test_radius_and_margin_must_be_in_range(radius: float, margin: float) -> None:
    with pytest.raises(ValueError, match=f"radius is {radius} and margin {margin}"):
        NormContrastiveLoss(radius, margin)
