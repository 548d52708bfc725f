"""The conditional flow: invertible, its log-determinant exact, its likelihood one."""

import math

import pytest
import torch
from torch import Tensor

from adpt.methods.flow import ConditionalFlow, CouplingBlock, log_likelihood, position_encoding

CONDITION = 8


def drawn(flow: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The same with random weights everywhere, in double precision, the rotations included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    for module in flow.double().modules():
        if isinstance(module, CouplingBlock):
            module.rotation = torch.linalg.qr(module.rotation).Q
    return flow


def inputs(channels: int, count: int = 6, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, channels, generator=generator, dtype=torch.float64)
    condition = torch.randn(count, CONDITION, generator=generator, dtype=torch.float64)
    return 3 * features, condition


def inverse(flow: torch.nn.Module, outputs: Tensor, condition: Tensor) -> Tensor:
    """The features (N, C) that a block, or all blocks of a flow, map to these outputs."""
    if isinstance(flow, ConditionalFlow):
        for block in reversed(flow.blocks):
            outputs = inverse(block, outputs, condition)
        return outputs
    assert isinstance(flow, CouplingBlock)
    scale = 0.1 * torch.nn.functional.softplus(flow.raw_scale, beta=0.5)
    mixed = (outputs @ flow.rotation - flow.offset) / scale
    kept, changed = mixed.split([flow.kept, flow.changed], 1)
    raw = 0.1 * flow.subnet(torch.cat([kept, condition], 1))
    log_scale = 1.9 * raw[:, : flow.changed].tanh()
    return torch.cat([kept, (changed - raw[:, flow.changed :]) / log_scale.exp()], 1)


@pytest.mark.parametrize("channels", [2, 3, 7, 12])
def test_inverse_takes_back_what_forward_did(channels: int) -> None:
    features, condition = inputs(channels)
    for flow in (CouplingBlock(channels, CONDITION), ConditionalFlow(channels, CONDITION, 4)):
        outputs, _ = drawn(flow)(features, condition)
        assert (outputs - features).abs().max() > 0.1
        torch.testing.assert_close(
            inverse(flow, outputs, condition), features, rtol=1e-8, atol=1e-8
        )


@pytest.mark.parametrize("channels", [2, 3, 7, 12])
def test_conditions_by_their_places_equal_those_of_each_feature(channels: int) -> None:
    features, conditions = inputs(channels)
    places = torch.tensor([2, 0, 2, 5, 0, 1])
    flow = drawn(ConditionalFlow(channels, CONDITION, 4))
    values = list(flow.parameters())
    ways = [(conditions[places],), (conditions, places)]
    found = [log_likelihood(*flow(features, *way)) for way in ways]
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(one.sum(), values) for one in found]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("channels", [2, 3, 7, 12])
def test_log_determinant_is_that_of_autograds_jacobian(channels: int) -> None:
    features, condition = inputs(channels)
    flow = drawn(ConditionalFlow(channels, CONDITION, 4))
    _, found = flow(features, condition)
    for number in range(len(features)):
        jacobian = torch.autograd.functional.jacobian(
            lambda one, number=number: flow(one[None], condition[number : number + 1])[0][0],
            features[number],
        )
        expected = torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(found[number], expected, rtol=1e-8, atol=1e-8)
    assert found.std() > 0.1


@pytest.mark.parametrize("channels", [3, 8])
def test_block_equals_freias_with_the_same_weights(channels: int) -> None:
    modules = pytest.importorskip("FrEIA.modules")
    ours = drawn(CouplingBlock(channels, CONDITION))
    theirs = modules.AllInOneBlock(
        [(channels,)],
        dims_c=[(CONDITION,)],
        subnet_constructor=lambda read, written: torch.nn.Sequential(
            torch.nn.Linear(read, 2 * read), torch.nn.ReLU(), torch.nn.Linear(2 * read, written)
        ),
        affine_clamping=1.9,
        permute_soft=True,
    ).double()
    state = {f"subnet.{name}": value for name, value in ours.subnet.state_dict().items()}
    state["global_scale"], state["global_offset"] = ours.raw_scale[None], ours.offset[None]
    state["w_perm"], state["w_perm_inv"] = ours.rotation, ours.rotation.T
    theirs.load_state_dict(state)
    features, condition = inputs(channels)
    outputs, log_determinant = ours(features, condition)
    (expected,), expected_log_determinant = theirs([features], [condition])
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(log_determinant, expected_log_determinant)
    (back,), _ = theirs([outputs], [condition], rev=True)
    torch.testing.assert_close(inverse(ours, outputs, condition), back)


def test_a_new_block_scales_by_one_and_rotates() -> None:
    block = CouplingBlock(9, CONDITION)
    with torch.no_grad():
        block.subnet[2].weight.zero_()
        block.subnet[2].bias.zero_()
    features, condition = (tensor.float() for tensor in inputs(9))
    outputs, log_determinant = block(features, condition)
    torch.testing.assert_close(outputs.norm(dim=1), features.norm(dim=1))
    assert (outputs - features).abs().max() > 0.1
    torch.testing.assert_close(log_determinant, torch.zeros(6), rtol=0, atol=1e-5)


def test_clamped_scales_keep_features_of_any_size_finite() -> None:
    flow = ConditionalFlow(6, CONDITION, 8)
    features, condition = (tensor.float() for tensor in inputs(6))
    latent, log_determinant = flow(1e4 * features, condition)
    assert latent.isfinite().all()
    assert log_determinant.abs().max() <= 8 * 3 * 1.9 + 1e-3


def test_likelihood_is_a_density() -> None:
    flow = drawn(ConditionalFlow(2, CONDITION, 3))
    condition = inputs(2)[1][:1]
    # Where most of the mass lies, as the inverse of the normal distribution says.
    generator = torch.Generator().manual_seed(2)
    latent = torch.randn(4000, 2, generator=generator, dtype=torch.float64)
    samples = inverse(flow, latent, condition.expand(4000, -1)).detach()
    low, high = samples.amin(0) - 1, samples.amax(0) + 1
    axes = [torch.linspace(a, b, 600, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    grid = torch.cartesian_prod(*axes)
    with torch.no_grad():
        per_channel = log_likelihood(*flow(grid, condition.expand(len(grid), -1)))
    cell = (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])
    assert ((2 * per_channel).exp().sum() * cell).item() == pytest.approx(1, abs=0.01)


def test_log_likelihood_of_latent_vectors_is_the_normal_distributions() -> None:
    latent, log_determinant = (
        torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5]]),
        torch.tensor([0, 3]),
    )
    expected = [
        sum(math.log(math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)) for z in row) + extra
        for row, extra in zip(latent.tolist(), log_determinant.tolist(), strict=True)
    ]
    found = log_likelihood(latent, log_determinant)
    torch.testing.assert_close(found, torch.tensor(expected) / 3)


def test_position_encoding_equals_the_literal_one() -> None:
    height, width, dim = 3, 5, 12
    expected = torch.zeros(height * width, dim)
    for y in range(height):
        for x in range(width):
            for half, position in enumerate((x, y)):
                for k in range(dim // 4):
                    angle = position / 10_000 ** (2 * k / (dim / 2))
                    expected[y * width + x, half * dim // 2 + 2 * k] = math.sin(angle)
                    expected[y * width + x, half * dim // 2 + 2 * k + 1] = math.cos(angle)
    torch.testing.assert_close(position_encoding(height, width, dim), expected)


@pytest.mark.parametrize("dim", [0, 6])
def test_position_encoding_needs_a_multiple_of_four(dim: int) -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        position_encoding(2, 2, dim)
