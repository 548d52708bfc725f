"""The projector against the published module structure, and what must not depend on what."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from literal.projector import PublishedProjector
from torch import Tensor

from adpt.projector import FeatureProjector
from adpt.weights import load_projector

CHANNELS = (16, 32, 48, 16)


def levels(batch: int = 2, channels: tuple[int, ...] = CHANNELS, seed: int = 0) -> list[Tensor]:
    """Levels whose sizes differ, as a CNN's do."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, width, 4 - index % 3, 3, generator=generator)
        for index, width in enumerate(channels)
    ]


@pytest.fixture(scope="module")
def projector() -> FeatureProjector:
    torch.manual_seed(0)
    return FeatureProjector(CHANNELS, num_references=7)


def published(
    path: Path, channels: tuple[int, ...] = CHANNELS, *, convolutions: bool
) -> PublishedProjector:
    """Write weights in the published format; the model that wrote them."""
    torch.manual_seed(1)
    model = PublishedProjector(channels, num_heads=16, num_references=9)
    state = {
        # Squeeze-excitation may be made of 1x1 convolutions, whose weights have two more axes.
        name: tensor[..., None, None]
        if convolutions and ".se." in name and tensor.ndim == 2
        else tensor
        for name, tensor in model.state_dict().items()
    }
    torch.save(
        {"projectors": state, "img_auc": np.float64(0.9), "pix_auc": 0.8, "pix_pro": 0.7}, path
    )
    return model


@pytest.mark.parametrize("convolutions", [False, True], ids=["linear", "1x1 convolution"])
@torch.no_grad()
def test_published_weights_give_the_published_output(tmp_path: Path, convolutions: bool) -> None:
    path = tmp_path / "published.pth"
    model = published(path, convolutions=convolutions)
    ours = load_projector(path)
    assert ours.channels == CHANNELS
    for got, expected in zip(ours(levels(3)), model(levels(3)), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_squeezed_width_is_a_multiple_of_eight() -> None:
    # 4C/16 = 4, 8, 12, 13 and 192: rounded to the nearest multiple of 8, half up, and 8 at least.
    for channels, expected in ((16, 8), (32, 8), (48, 16), (52, 16), (768, 192)):
        mlp = FeatureProjector([channels], num_references=1).blocks[0].mlp
        assert mlp.squeeze.out_features == mlp.excite.in_features == expected


def test_references_and_their_map_start_as_published() -> None:
    torch.manual_seed(0)
    block = FeatureProjector([64], num_references=4096).blocks[0]
    assert block.references.shape == (4096, 64)
    assert block.references.mean().item() == pytest.approx(0, abs=0.01)
    assert block.references.std().item() == pytest.approx(1, abs=0.01)
    # Kaiming: a standard deviation of sqrt(2 / (1 + slope²) / inputs), slope 0 or 0.01.
    assert block.reference_map.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.05)


def test_defaults_are_16_heads_and_2048_references() -> None:
    projector = FeatureProjector([32])
    assert projector.blocks[0].attention.num_heads == 16
    assert projector.blocks[0].references.shape == (2048, 32)


@torch.no_grad()
def test_shapes_are_kept(projector: FeatureProjector) -> None:
    given = levels()
    assert [level.shape for level in projector(given)] == [level.shape for level in given]


@torch.no_grad()
def test_result_does_not_depend_on_the_batch(projector: FeatureProjector) -> None:
    given = levels(5)
    for index in range(5):
        alone = projector([level[index : index + 1] for level in given])
        for one, among in zip(alone, projector(given), strict=True):
            torch.testing.assert_close(one[0], among[index])


@torch.no_grad()
def test_levels_do_not_depend_on_each_other(projector: FeatureProjector) -> None:
    given = levels()
    expected = projector(given)
    changed = projector([given[0], given[1] + 1, *given[2:]])
    equal = [torch.equal(one, other) for one, other in zip(changed, expected, strict=True)]
    assert equal == [True, False, True, True]


@torch.no_grad()
def test_order_of_patches_does_not_matter(projector: FeatureProjector) -> None:
    given = levels()
    flipped = projector([level.flip(2, 3) for level in given])
    for one, other in zip(flipped, projector(given), strict=True):
        torch.testing.assert_close(one.flip(2, 3), other)


@torch.no_grad()
def test_references_are_mapped_once_for_a_batch(projector: FeatureProjector) -> None:
    mapped: list[torch.Size] = []
    keys: list[torch.Size] = []
    hooks = []
    for block in projector.blocks:
        hooks += [
            block.reference_map.register_forward_hook(lambda *args: mapped.append(args[2].shape)),
            block.attention.register_forward_pre_hook(lambda _, args: keys.append(args[1].shape)),
        ]
    projector(levels(5))
    for hook in hooks:
        hook.remove()
    assert mapped == [(7, width) for width in CHANNELS]
    assert keys == [(1, 7, width) for width in CHANNELS]


def test_gradient_reaches_every_parameter(projector: FeatureProjector) -> None:
    loss = sum(level.square().sum() for level in projector(levels()))
    gradients = torch.autograd.grad(loss, list(projector.parameters()), allow_unused=True)
    for (name, _), gradient in zip(projector.named_parameters(), gradients, strict=True):
        assert gradient is not None, name
        assert gradient.abs().max() > 0, name


@torch.no_grad()
def test_scale_divides_each_level() -> None:
    torch.manual_seed(0)
    projector = FeatureProjector(CHANNELS, num_references=7)
    given = levels()
    scale = torch.tensor([0.5, 2.0, 4.0, 1.0])
    expected = projector([level / one for level, one in zip(given, scale, strict=True)])
    plain = projector(given)
    projector.scale.copy_(scale)
    scaled = projector(given)
    for one, other in zip(scaled, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.allclose(scaled[0], plain[0])
    assert torch.equal(scaled[3], plain[3])


def test_scale_is_one_and_part_of_the_state(projector: FeatureProjector) -> None:
    assert torch.equal(projector.state_dict()["scale"], torch.ones(4))
    assert "scale" not in dict(projector.named_parameters())


@pytest.mark.parametrize(
    ("width", "wanted", "used"), [(24, 16, 12), (32, 16, 16), (17, 16, 1), (40, 16, 10), (8, 16, 8)]
)
@torch.no_grad()
def test_width_that_the_heads_do_not_divide_uses_fewer_and_says_so(
    caplog: pytest.LogCaptureFixture, width: int, wanted: int, used: int
) -> None:
    with caplog.at_level(logging.INFO, logger="adpt.projector.blocks"):
        projector = FeatureProjector([width], num_heads=wanted, num_references=3)
    assert projector.blocks[0].attention.num_heads == used
    said = [f"width {width} uses {used}" in record.getMessage() for record in caplog.records]
    assert said == ([] if used == wanted else [True])
    level = torch.zeros(2, width, 2, 2)
    assert projector([level])[0].shape == level.shape


@pytest.mark.parametrize("widths", [(16, 32, 48), (16, 32, 48, 24), (32, 16, 48, 16)], ids=str)
def test_other_levels_are_an_error_with_both_widths(
    projector: FeatureProjector, widths: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="backbone and levels") as caught:
        projector(levels(channels=widths))
    assert str(CHANNELS) in str(caught.value)
    assert str(widths) in str(caught.value)


@pytest.mark.parametrize(("heads", "references"), [(0, 5), (-1, 5), (16, 0)])
def test_no_heads_or_references_are_an_error(heads: int, references: int) -> None:
    with pytest.raises(ValueError, match=f"num_heads is {heads} and num_references {references}"):
        FeatureProjector([16], heads, references)


def test_half_precision_autocast_gives_finite_output_and_gradient(
    projector: FeatureProjector,
) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        projected = projector(levels())
    for level, exact in zip(projected, projector(levels()), strict=True):
        torch.testing.assert_close(level.float(), exact, rtol=0.1, atol=0.1)
    loss = sum(level.float().square().sum() for level in projected)
    for gradient in torch.autograd.grad(loss, list(projector.parameters())):
        assert gradient.isfinite().all()


def test_start_at_identity_returns_the_scaled_residuals() -> None:
    torch.manual_seed(0)
    projector = FeatureProjector([16, 24], num_heads=4, num_references=8, start_at_identity=True)
    projector.scale.copy_(torch.tensor([2.0, 0.5]))
    levels = [torch.randn(2, 16, 4, 4), torch.randn(2, 24, 2, 2)]
    first, second = projector(levels)
    torch.testing.assert_close(first, levels[0] / 2)
    torch.testing.assert_close(second, levels[1] * 2)


def test_start_at_identity_still_trains() -> None:
    torch.manual_seed(0)
    projector = FeatureProjector([16], num_heads=4, num_references=8, start_at_identity=True)
    optimizer = torch.optim.SGD(projector.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        projector([torch.randn(2, 16, 4, 4)])[0].square().mean().backward()
        optimizer.step()
    last = projector.blocks[0].mlp.contract.weight
    assert last.abs().sum() > 0
    assert projector.blocks[0].attention.out_proj.weight.abs().sum() > 0


def test_scale_of_a_call_goes_before_the_projectors_own() -> None:
    torch.manual_seed(0)
    projector = FeatureProjector([16, 24], num_heads=4, num_references=8)
    levels = [torch.randn(2, 16, 4, 4), torch.randn(2, 24, 2, 2)]
    scale = torch.tensor([[2.0, 0.5], [4.0, 3.0]])
    divided = [level / scale[:, number].view(-1, 1, 1, 1) for number, level in enumerate(levels)]
    expected = projector(divided)
    projector.scale.fill_(7)
    for actual, wanted in zip(projector(levels, scale), expected, strict=True):
        torch.testing.assert_close(actual, wanted)
    for actual, wanted in zip(
        projector([lv[:1] for lv in levels], scale[0]), expected, strict=True
    ):
        torch.testing.assert_close(actual, wanted[:1])
