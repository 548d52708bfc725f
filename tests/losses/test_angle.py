"""The angle loss against its literal formula, its invariances and extreme features."""

import math

import pytest
import torch
from torch import Tensor

import oracles
from adpt.losses import AngleContrastiveLoss, angle

LABELS = {
    "balanced": [0, 1, 0, 1, 1, 0, 0, 1],
    "one anomalous": [0, 0, 0, 0, 0, 1, 0, 0],
    "one normal": [1, 1, 1, 0, 1, 1, 1, 1],
}


def draw(seed: int = 0, patches: int = 8, width: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Two views, close to each other as those of training are, and a centre."""
    generator = torch.Generator().manual_seed(seed)
    view1 = torch.randn(patches, width, generator=generator)
    view2 = view1 + 0.5 * torch.randn(patches, width, generator=generator)
    return view1, view2, torch.randn(width, generator=generator)


def value_and_gradients(loss: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return loss.detach(), *torch.autograd.grad(loss, inputs)


def assert_close(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], **tolerance) -> None:
    for got, wanted in zip(actual, expected, strict=True):
        torch.testing.assert_close(got.double(), wanted.double(), **tolerance)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("with_centre", [False, True])
@pytest.mark.parametrize("temperature", [0.15, 0.03, 0.02, 1.0])
def test_value_and_gradient_are_those_of_the_literal_formula(
    labels: list[int], with_centre: bool, temperature: float
) -> None:
    view1, view2, centre = draw()
    anomalous = torch.tensor(labels)
    views = view1.requires_grad_(), view2.requires_grad_()
    shift = centre if with_centre else None
    ours = AngleContrastiveLoss(temperature)(*views, anomalous, shift)
    literal = oracles.angle_loss(*views, anomalous, shift, temperature)
    assert_close(
        value_and_gradients(ours, *views),
        value_and_gradients(literal, *views),
        rtol=1e-4,
        atol=1e-5,
    )


def test_default_temperature_is_015() -> None:
    view1, view2, _ = draw()
    anomalous = torch.tensor(LABELS["balanced"])
    expected = oracles.angle_loss(view1, view2, anomalous, temperature=0.15)
    assert AngleContrastiveLoss()(view1, view2, anomalous).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("elements", [1, 5, 16])
def test_chunks_change_neither_value_nor_gradient(
    monkeypatch: pytest.MonkeyPatch, labels: list[int], elements: int
) -> None:
    view1, view2, centre = draw()
    anomalous = torch.tensor(labels)
    inputs = [tensor.requires_grad_() for tensor in (view1, view2, centre)]
    whole = value_and_gradients(AngleContrastiveLoss()(view1, view2, anomalous, centre), *inputs)
    blocks = []
    whole_sums = AngleContrastiveLoss._sums

    def counted(self: AngleContrastiveLoss, normal: Tensor, other: Tensor):
        blocks.append(normal.shape[0] * other.shape[0])
        return whole_sums(self, normal, other)

    monkeypatch.setattr(AngleContrastiveLoss, "_sums", counted)
    monkeypatch.setattr(angle, "CHUNK_ELEMENTS", elements)
    chunked = value_and_gradients(AngleContrastiveLoss()(view1, view2, anomalous, centre), *inputs)
    assert_close(chunked, whole, rtol=1e-5, atol=1e-6)
    assert max(blocks) <= max(elements, 2 * sum(labels))
    if elements == 1:
        assert len(blocks) == 2 * 2 * labels.count(0)  # forward, and once more for the gradient


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("patches", [4, 0])
def test_one_label_alone_gives_zero_attached_to_the_graph(label: int, patches: int) -> None:
    view1, view2, centre = (tensor.requires_grad_() for tensor in draw(patches=patches))
    loss = AngleContrastiveLoss()(view1, view2, torch.full((patches,), label), centre)
    assert loss.item() == 0
    assert loss.dtype == torch.float32
    loss.backward()
    for view in (view1, view2):
        assert view.grad is not None
        torch.testing.assert_close(view.grad, torch.zeros_like(view))


EXTREMES = {
    "1e4": lambda view: 1e4 * view,
    "1e-8": lambda view: 1e-8 * view,
    "all zero": lambda view: 0 * view,
    "some zero": lambda view: view * torch.tensor([[0.0], [0.0], [1.0], [1.0]] * 2),
    "1e-8 among 1e4": lambda view: view * torch.tensor([[1e-8], [1e4], [1e4], [1e-8]] * 2),
    "all the same": lambda view: torch.ones_like(view),
    "opposite": lambda view: torch.tensor([[1.0], [-1.0]] * 4).expand_as(view).clone(),
}


@pytest.mark.parametrize("extreme", EXTREMES.values(), ids=EXTREMES)
@pytest.mark.parametrize("temperature", [0.003, 0.01, 0.0251, 0.15])
@pytest.mark.parametrize("with_centre", [False, True])
def test_extreme_features_give_finite_loss_and_gradient(
    extreme, temperature: float, with_centre: bool
) -> None:
    view1, view2, centre = draw()
    views = extreme(view1).requires_grad_(), extreme(view2).requires_grad_()
    loss = AngleContrastiveLoss(temperature)(
        *views, torch.tensor(LABELS["balanced"]), centre if with_centre else None
    )
    for tensor in value_and_gradients(loss, *views):
        assert tensor.isfinite().all()


def test_features_at_the_centre_give_finite_gradient() -> None:
    _, _, centre = draw()
    views = [centre.expand(8, -1).clone().requires_grad_() for _ in range(2)]
    loss = AngleContrastiveLoss(0.01)(*views, torch.tensor(LABELS["balanced"]), centre)
    for tensor in value_and_gradients(loss, *views):
        assert tensor.isfinite().all()


def test_order_of_patches_does_not_matter() -> None:
    view1, view2, centre = draw()
    anomalous = torch.tensor(LABELS["balanced"])
    order = torch.tensor([3, 1, 7, 0, 5, 2, 6, 4])
    loss = AngleContrastiveLoss()
    torch.testing.assert_close(
        loss(view1[order], view2[order], anomalous[order], centre),
        loss(view1, view2, anomalous, centre),
    )


def test_views_can_be_swapped() -> None:
    view1, view2, centre = draw()
    anomalous = torch.tensor(LABELS["one anomalous"])
    loss = AngleContrastiveLoss()
    torch.testing.assert_close(
        loss(view2, view1, anomalous, centre), loss(view1, view2, anomalous, centre)
    )


def test_lengths_do_not_matter() -> None:
    view1, view2, _ = draw()
    anomalous = torch.tensor(LABELS["balanced"])
    lengths = torch.linspace(0.1, 30, 8)[:, None]
    loss = AngleContrastiveLoss()
    torch.testing.assert_close(
        loss(lengths * view1, view2 / lengths, anomalous), loss(view1, view2, anomalous)
    )


def test_opposite_labels_in_opposite_directions_give_a_negative_loss() -> None:
    anomalous = torch.tensor([0, 0, 1, 1])
    view = torch.where(anomalous[:, None].bool(), -torch.ones(4, 3), torch.ones(4, 3))
    # Each anchor: positive at 1/τ; four of the other label at -1/τ.
    expected = -(1 / 0.15) + math.log(4 * math.exp(-1 / 0.15))
    loss = AngleContrastiveLoss()(view, view, anomalous)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert loss.item() < 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("with_centre", [False, True])
def test_half_precision_features_are_computed_in_float32(
    dtype: torch.dtype, with_centre: bool, autocast: bool
) -> None:
    view1, view2, centre = (tensor.to(dtype) for tensor in draw())
    views = view1.requires_grad_(), view2.requires_grad_()
    anomalous = torch.tensor(LABELS["balanced"])
    shift = centre if with_centre else None
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = AngleContrastiveLoss()(*views, anomalous, shift)
    assert loss.dtype == torch.float32
    exact = oracles.angle_loss(*(tensor.double() for tensor in views), anomalous, shift)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
    for gradient in torch.autograd.grad(loss, views):
        assert gradient.dtype == dtype
        assert gradient.isfinite().all()


def test_autocast_does_not_change_float32_features() -> None:
    view1, view2, centre = draw()
    anomalous = torch.tensor(LABELS["balanced"])
    with torch.autocast("cpu", torch.bfloat16):
        inside = AngleContrastiveLoss()(view1, view2, anomalous, centre)
    assert torch.equal(inside, AngleContrastiveLoss()(view1, view2, anomalous, centre))


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.uint8])
def test_any_non_zero_label_is_anomalous(dtype: torch.dtype) -> None:
    view1, view2, _ = draw()
    anomalous = torch.tensor(LABELS["balanced"])
    loss = AngleContrastiveLoss()
    labels = (anomalous * 3).to(dtype)
    assert torch.equal(loss(view1, view2, labels), loss(view1, view2, anomalous))


@pytest.mark.parametrize("temperature", [0.003, 0.015, 0.024, 0.0251, 0.15])
def test_labels_in_opposite_directions_give_finite_loss_and_gradient(temperature: float) -> None:
    sign = 1 - 2 * torch.tensor(LABELS["balanced"])
    views = [(sign[:, None] * torch.ones(8, 3)).requires_grad_() for _ in range(2)]
    loss = AngleContrastiveLoss(temperature)(*views, sign < 0)
    # Every anchor: positive at 1/τ, eight of the other label at -1/τ.
    assert loss.item() == pytest.approx(math.log(8) - 2 / temperature, rel=1e-5)
    for gradient in torch.autograd.grad(loss, views):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("temperature", [0, -0.15, 0.002])
def test_temperature_must_not_be_too_small(temperature: float) -> None:
    with pytest.raises(ValueError, match=f"temperature is {temperature}; .*at least 0.003"):
        AngleContrastiveLoss(temperature)
