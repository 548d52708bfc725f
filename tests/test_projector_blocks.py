"""What a projector may be made of: each block against a literal version, and what it looks at."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from adpt.errors import WeightsError
from adpt.projector import FeatureProjector
from adpt.projector.blocks import BLOCKS, ProjectorBlock
from adpt.weights import load_projector, projector_metadata, save_projector

WIDTH, HEADS, NUM_REFERENCES = 16, 4, 5


def made(name: str, seed: int = 0) -> ProjectorBlock:
    torch.manual_seed(seed)
    return BLOCKS[name](WIDTH, HEADS, NUM_REFERENCES).double()


def draw(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def project(block: ProjectorBlock, tokens: Tensor, references: Tensor) -> Tensor:
    result: Tensor = block(tokens, references) if block.needs_references else block(tokens)
    return result


# ---- Literal versions -----------------------------------------------------------------------


def literal_attention(block: ProjectorBlock, query: Tensor, keys: Tensor) -> Tensor:
    """One token's attention to keys (R, C), head by head and key by key."""
    weights, bias = block.attention.in_proj_weight, block.attention.in_proj_bias
    maps = [
        (weights[i * WIDTH : (i + 1) * WIDTH], bias[i * WIDTH : (i + 1) * WIDTH]) for i in range(3)
    ]
    asked = maps[0][0] @ query + maps[0][1]
    size = WIDTH // HEADS
    attended = torch.zeros(WIDTH, dtype=torch.float64)
    for head in range(HEADS):
        own = slice(head * size, (head + 1) * size)
        terms = []
        for key in keys:
            offered, value = (matrix @ key + shift for matrix, shift in maps[1:])
            terms.append(((asked[own] @ offered[own] / math.sqrt(size)).exp(), value[own]))
        total = sum(weight for weight, _ in terms)
        attended[own] = sum(weight / total * value for weight, value in terms)
    out = block.attention.out_proj
    return out.weight @ attended + out.bias


def gelu(value: Tensor) -> Tensor:
    return value * (1 + torch.erf(value / math.sqrt(2))) / 2


def literal_gated_mlp(block: ProjectorBlock, tokens: list[Tensor]) -> list[Tensor]:
    """Of one image's tokens."""
    mlp = block.mlp
    hidden = [mlp.expand.weight @ token + mlp.expand.bias for token in tokens]
    squeezed = (mlp.squeeze.weight @ (sum(hidden) / len(hidden)) + mlp.squeeze.bias).clamp(min=0)
    gate = 1 / (1 + (-(mlp.excite.weight @ squeezed + mlp.excite.bias)).exp())
    return [mlp.contract.weight @ gelu(one * gate) + mlp.contract.bias for one in hidden]


def literal(name: str, block: ProjectorBlock, image: Tensor, references: Tensor) -> Tensor:
    """One image's tokens (T, C) projected, its references being (R, C)."""
    if name == "linear":
        return torch.stack([block.linear.weight @ token + block.linear.bias for token in image])
    if name == "mlp":
        expand, contract = block.mlp.expand, block.mlp.contract
        return torch.stack(
            [
                t + contract.weight @ gelu(expand.weight @ t + expand.bias) + contract.bias
                for t in image
            ]
        )
    keys = image
    if name != "self_attention":
        source = block.references if name == "attention" else references
        mapped = block.reference_map
        keys = torch.stack([mapped.weight @ one + mapped.bias for one in source])
    hidden = [token - literal_attention(block, token, keys) for token in image]
    return torch.stack(
        [one + more for one, more in zip(hidden, literal_gated_mlp(block, hidden), strict=True)]
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", BLOCKS)
@torch.no_grad()
def test_block_is_its_literal_version(name: str, training: bool) -> None:
    block = made(name).train(training)
    tokens, references = draw(2, 3, WIDTH), draw(2, 6, WIDTH, seed=2)
    expected = [
        literal(name, block, image, own) for image, own in zip(tokens, references, strict=True)
    ]
    torch.testing.assert_close(project(block, tokens, references), torch.stack(expected))


# ---- What a block looks at ------------------------------------------------------------------


@pytest.mark.parametrize("name", BLOCKS)
@torch.no_grad()
def test_only_linear_and_mlp_take_each_token_for_itself(name: str) -> None:
    block = made(name)
    tokens, references = draw(2, 3, WIDTH), draw(2, 6, WIDTH, seed=2)
    whole = project(block, tokens, references)
    alone = torch.cat([project(block, tokens[:, [i]], references) for i in range(3)], dim=1)
    assert torch.allclose(whole, alone) == (name in ("linear", "mlp"))


@pytest.mark.parametrize("name", BLOCKS)
@torch.no_grad()
def test_order_of_tokens_is_the_order_of_the_output(name: str) -> None:
    block = made(name)
    tokens, references = draw(2, 7, WIDTH), draw(2, 6, WIDTH, seed=2)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    permuted = project(block, tokens[:, order], references)
    torch.testing.assert_close(permuted, project(block, tokens, references)[:, order])


@pytest.mark.parametrize("name", BLOCKS)
@torch.no_grad()
def test_images_do_not_see_each_other(name: str) -> None:
    block = made(name)
    tokens, references = draw(3, 4, WIDTH), draw(3, 6, WIDTH, seed=2)
    whole = project(block, tokens, references)
    alone = [project(block, tokens[[i]], references[[i]]) for i in range(3)]
    torch.testing.assert_close(torch.cat(alone), whole)


@torch.no_grad()
def test_self_attention_sees_the_other_tokens_through_attention_too() -> None:
    """Not through the gate alone: the attended part of a token changes with another token."""
    block = made("self_attention")
    tokens = draw(1, 3, WIDTH)
    other = tokens.clone()
    other[0, 2] += 1
    first, second = (block.attention(t, t, t, need_weights=False)[0][0, 0] for t in (tokens, other))
    assert not torch.allclose(first, second)


@torch.no_grad()
def test_cross_attention_needs_references_in_no_order() -> None:
    block = made("cross_attention")
    tokens, references = draw(2, 3, WIDTH), draw(2, 6, WIDTH, seed=2)
    expected = block(tokens, references)
    torch.testing.assert_close(block(tokens, references.flip(1)), expected)
    assert not torch.allclose(block(tokens, references.flip(0)), expected)
    shared = block(tokens, references[0])
    torch.testing.assert_close(shared, block(tokens, references[[0, 0]]))


# ---- In a projector -------------------------------------------------------------------------

CHANNELS = (16, 24)


def projector(block: str, **options) -> FeatureProjector:
    torch.manual_seed(0)
    return FeatureProjector(CHANNELS, num_heads=4, num_references=5, block=block, **options)


def levels(batch: int = 2) -> list[Tensor]:
    return [draw(batch, 16, 3, 3).float(), draw(batch, 24, 2, 2, seed=3).float()]


def references(batch: int = 2, images: int = 2) -> list[Tensor]:
    """Own references of each image, (B, R, C) a level."""
    return [
        draw(batch, 9 * images, 16, seed=4).float(),
        draw(batch, 4 * images, 24, seed=5).float(),
    ]


@pytest.mark.parametrize("block", BLOCKS)
def test_only_cross_attention_needs_references(block: str) -> None:
    made = projector(block)
    assert made.needs_references == (block == "cross_attention")
    projected = made(levels(), references=references())
    assert [level.shape for level in projected] == [level.shape for level in levels()]
    if made.needs_references:
        with pytest.raises(ValueError, match="'cross_attention' needs the images' references"):
            made(levels())
    else:
        for one, other in zip(projected, made(levels()), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("block", BLOCKS)
def test_gradient_reaches_every_parameter_and_the_level(block: str) -> None:
    made, given = projector(block), [level.requires_grad_() for level in levels()]
    projected = made(given, references=references())
    sum(level.square().sum() for level in projected).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    assert all(level.grad.abs().max() > 0 for level in given)


@pytest.mark.parametrize("block", BLOCKS)
def test_start_at_identity_returns_the_level_and_still_trains(block: str) -> None:
    made = projector(block, start_at_identity=True)
    for one, level in zip(made(levels(), references=references()), levels(), strict=True):
        assert torch.equal(one, level)
    before = {name: value.clone() for name, value in made.named_parameters()}
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        sum((o**2).mean() for o in made(levels(), references=references())).backward()
        optimizer.step()
    moved = [not torch.equal(value, before[name]) for name, value in made.named_parameters()]
    assert all(moved)


@pytest.mark.parametrize("shared", [False, True])
@torch.no_grad()
def test_references_are_divided_by_the_scale_like_the_levels(shared: bool) -> None:
    made = projector("cross_attention")
    own = [level[0] if shared else level for level in references()]
    scale = torch.tensor([[2.0, 0.5], [4.0, 3.0]])
    found = made(levels(), scale, own)
    for image in range(2):
        divided = [
            (level[image] / one)[None] for level, one in zip(levels(), scale[image], strict=True)
        ]
        theirs = [
            (level if shared else level[image]) / one
            for level, one in zip(own, scale[image], strict=True)
        ]
        for one, other in zip(found, made(divided, references=theirs), strict=True):
            torch.testing.assert_close(one[image], other[0])


@torch.no_grad()
def test_references_are_divided_by_the_projectors_own_scale() -> None:
    made = projector("cross_attention")
    expected = made([level / 2 for level in levels()], references=[r / 2 for r in references()])
    made.scale.fill_(2)
    for one, other in zip(made(levels(), references=references()), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_half_precision_references_under_autocast() -> None:
    made = projector("cross_attention")
    with torch.autocast("cpu", torch.bfloat16):
        half = made(levels(), references=[level.bfloat16() for level in references()])
    for one, exact in zip(half, made(levels(), references=references()), strict=True):
        torch.testing.assert_close(one.float(), exact, rtol=0.1, atol=0.1)


def test_unknown_block_is_an_error_with_the_names() -> None:
    with pytest.raises(ValueError, match=r"block is 'conv': there are attention, cross_attention"):
        projector("conv")


def test_own_features_have_no_scale_of_references() -> None:
    assert not projector("attention", on_residuals=False).on_residuals
    with pytest.raises(ValueError, match=r"set it to false, and model\.scale_levels to true"):
        projector("attention", on_residuals=False, scale_by_references=True)


# ---- On disk --------------------------------------------------------------------------------


@pytest.mark.parametrize("on_residuals", [True, False])
@pytest.mark.parametrize("block", BLOCKS)
@torch.no_grad()
def test_file_brings_back_block_and_input(tmp_path: Path, block: str, on_residuals: bool) -> None:
    made = projector(block, on_residuals=on_residuals)
    path = tmp_path / "projector.safetensors"
    save_projector(made, path)
    loaded = load_projector(path)
    assert (loaded.block, loaded.on_residuals) == (block, on_residuals)
    assert loaded.needs_references == made.needs_references
    expected = made.eval()(levels(), references=references())
    for one, other in zip(loaded(levels(), references=references()), expected, strict=True):
        assert torch.equal(one, other)


def rewritten(path: Path, **changes: str | None) -> Path:
    metadata = {**projector_metadata(path), **changes}
    kept = {name: value for name, value in metadata.items() if value is not None}
    save_file(load_file(path), path, metadata=kept)
    return path


def test_older_file_is_of_the_published_block_on_residuals(tmp_path: Path) -> None:
    path = tmp_path / "projector.safetensors"
    save_projector(projector("attention"), path)
    loaded = load_projector(rewritten(path, block=None, on_residuals=None))
    assert (loaded.block, loaded.on_residuals) == ("attention", True)


@pytest.mark.parametrize("block", ["mlp", "conv"])
def test_file_of_another_block_than_it_says_is_refused(tmp_path: Path, block: str) -> None:
    path = tmp_path / "projector.safetensors"
    save_projector(projector("attention"), path)
    with pytest.raises(WeightsError, match="does not hold a whole projector"):
        load_projector(rewritten(path, block=block))
