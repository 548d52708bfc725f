"""UniAD's transformer against literal versions of its mask, its attention and the whole."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from adpt.methods.uniad_transformer import (
    DecoderLayer,
    EncoderLayer,
    MaskedAttention,
    Reconstruction,
    neighbour_mask,
)

# ---- Neighbour mask --------------------------------------------------------------------------


def literal_mask(height: int, width: int, size: int) -> Tensor:
    mask = torch.zeros(height * width, height * width, dtype=torch.bool)
    for y in range(height):
        for x in range(width):
            for other_y in range(height):
                for other_x in range(width):
                    if abs(y - other_y) <= size // 2 and abs(x - other_x) <= size // 2:
                        mask[y * width + x, other_y * width + other_x] = True
    return mask


@pytest.mark.parametrize(("grid", "size"), [((9, 8), 7), ((5, 7), 3), ((1, 9), 5), ((4, 2), 1)])
def test_mask_equals_the_literal_one(grid: tuple[int, int], size: int) -> None:
    assert torch.equal(neighbour_mask(grid, size), literal_mask(*grid, size))


def test_size_zero_forbids_nothing() -> None:
    assert not neighbour_mask((4, 5), 0).any()


def test_on_small_grids_the_neighbourhood_is_the_largest_that_leaves_all_something_to_see() -> None:
    for height, width in itertools.product(range(1, 9), repeat=2):
        found = neighbour_mask((height, width), 7)
        candidates = [literal_mask(height, width, size) for size in (7, 5, 3, 1)]
        fitting = [mask for mask in candidates if not mask.all(1).any()]
        assert torch.equal(found, fitting[0] if fitting else torch.zeros(1, 1, dtype=torch.bool))


# ---- Attention -------------------------------------------------------------------------------


def literal_attention(
    attention: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor, mask: Tensor
) -> Tensor:
    """Head by head, query by query, over the allowed keys alone; for one image."""
    width = query.shape[1]
    weight, bias = attention.in_proj_weight.split(width), attention.in_proj_bias.split(width)
    q, k, v = (x @ w.T + b for x, w, b in zip((query, key, value), weight, bias, strict=True))
    each = width // attention.num_heads
    heads = []
    for start in range(0, width, each):
        part = slice(start, start + each)
        rows = []
        for patch in range(len(q)):
            allowed = ~mask[patch]
            weights = torch.softmax(k[allowed, part] @ q[patch, part] / math.sqrt(each), 0)
            rows.append(weights @ v[allowed, part])
        heads.append(torch.stack(rows))
    return torch.cat(heads, 1) @ attention.out_proj.weight.T + attention.out_proj.bias


def literal_attend(layer: MaskedAttention, tokens: Tensor, source: Tensor, position: Tensor,
                   mask: Tensor) -> Tensor:  # fmt: skip
    found = literal_attention(layer.attention, tokens + position, source + position, source, mask)
    return layer.norm(tokens + found)


def literal_reconstruction(model: Reconstruction, features: Tensor, grid: tuple[int, int],
                           size: int) -> Tensor:  # fmt: skip
    """Of one image, from the weights alone."""
    height, width = grid
    mask = literal_mask(height, width, size)
    position = torch.stack(
        [
            torch.cat([model.columns[0, x], model.rows[y, 0]])
            for y in range(height)
            for x in range(width)
        ]
    )

    def feed_forward(layer: nn.Module, tokens: Tensor) -> Tensor:
        first, second = layer.layers[0], layer.layers[3]
        inside = (tokens @ first.weight.T + first.bias).clamp(min=0)
        return layer.norm(tokens + inside @ second.weight.T + second.bias)

    encoded = features @ model.project_in.weight.T + model.project_in.bias
    for layer in model.encoder:
        encoded = literal_attend(layer.attend, encoded, encoded, position, mask)
        encoded = feed_forward(layer.feed_forward, encoded)
    previous = encoded
    for layer in model.decoder:
        tokens = literal_attend(layer.attend_encoded, layer.queries, encoded, position, mask)
        tokens = literal_attend(layer.attend_previous, tokens, previous, position, mask)
        previous = feed_forward(layer.feed_forward, tokens)
    return model.norm(previous) @ model.project_out.weight.T + model.project_out.bias


def random_weights(module: nn.Module, seed: int = 0) -> None:
    """Biases and norms start at 0 and 1, which would hide that they are used."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))


def test_reconstruction_equals_the_literal_one() -> None:
    grid = (4, 5)
    model = (
        Reconstruction(
            6,
            grid,
            hidden_dim=8,
            num_heads=2,
            num_layers=3,
            feedforward_dim=12,
            dropout=0.1,
            neighbour_size=3,
        )
        .eval()
        .double()
    )
    random_weights(model)
    features = torch.randn(2, 20, 6, dtype=torch.float64)
    expected = torch.stack([literal_reconstruction(model, one, grid, 3) for one in features])
    torch.testing.assert_close(model(features), expected)


def test_attention_depends_on_every_patch_but_the_neighbours() -> None:
    grid = (4, 5)
    mask = neighbour_mask(grid, 3)
    layer = MaskedAttention(8, 2, 0.0).double()
    tokens, source = torch.randn(2, 1, 20, 8, dtype=torch.float64)
    source.requires_grad_()
    found = layer(tokens, source, torch.randn(20, 8, dtype=torch.float64), mask)
    for patch in range(20):
        (gradient,) = torch.autograd.grad(found[0, patch].square().sum(), source, retain_graph=True)
        touched = gradient[0].abs().sum(1) > 0
        assert torch.equal(touched, ~mask[patch])


def test_a_patch_passes_straight_through_the_encoder_but_not_through_the_decoder() -> None:
    mask, position = neighbour_mask((4, 5), 3), torch.randn(20, 8)
    tokens = torch.randn(1, 20, 8, requires_grad=True)
    encoder, decoder = EncoderLayer(8, 2, 12, 0.0), DecoderLayer(20, 8, 2, 12, 0.0)
    through = {
        "encoder": encoder(tokens, position, mask),
        "decoder": decoder(torch.zeros(1, 20, 8), tokens, position, mask),
    }
    own = {}
    for name, output in through.items():
        (gradient,) = torch.autograd.grad(output[0, 7].square().sum(), tokens)
        own[name] = gradient[0, 7].abs().sum().item()
    assert own["encoder"] > 0
    # Of the encoder's tokens the second attention, over the layer before, sees nothing here.
    assert own["decoder"] == 0
