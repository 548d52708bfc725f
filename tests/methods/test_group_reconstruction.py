"""Dinomaly and INP-Former: the originals' numbers, literal versions, and that they separate."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from adpt.methods import Dinomaly, InpFormer
from adpt.methods.dinomaly import LinearAttention
from adpt.methods.feature_sets import InMemory, Step
from adpt.methods.group_reconstruction import GroupReconstruction, fuse, split, warm_cosine
from adpt.methods.inp_former import FindPrototypes, PrototypeLayer
from adpt.methods.stable_adamw import StableAdamW
from filled import fill, numbers

CPU = torch.device("cpu")
Make = Callable[..., GroupReconstruction]
BOTH = pytest.mark.parametrize("make", [Dinomaly, InpFormer])
SHAPES = [(3, 2, 8), (5, 4, 6), (4, 3, 3)]


def tiny(make: Make, **changed: Any) -> GroupReconstruction:
    arguments: dict[str, Any] = {
        "image_size": (20, 24), "epochs": 3, "batch_size": 2, "hidden_dim": 8, "num_heads": 2,
        "num_layers": 2,
    }  # fmt: skip
    return make(**(arguments | changed))


def built(method: GroupReconstruction, shapes: list[tuple[int, int, int]]) -> GroupReconstruction:
    method.remember_shapes(shapes)
    method.build(shapes)
    return method


def sample(images: int = 5, shapes: list[tuple[int, int, int]] = SHAPES) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(images, *shape, generator=generator) for shape in shapes]


# ---- The originals' own numbers --------------------------------------------------------------

# Of their code at github.com/guojiajeremy/Dinomaly (c5c76d0) and luow23/INP-Former (17d2653): four
# levels in place of the encoder's, without class token, weights as `fill` has them; losses of the
# steps 600, 601, 602 of 10,000, then maps after their 5 x 5 blur, less its zero-padded border.
RECORDED = {
    Dinomaly: (
        [0.9200045, 0.9501816, 0.8815868],
        [
            1.027167,
            1.200543,
            1.204452,
            1.036255,
            1.095588,
            1.215456,
            1.17088,
            0.9636771,
            1.154618,
            1.216545,
            1.126912,
            0.8921533,
            0.653967,
            0.6588196,
            0.7933932,
            1.048468,
            0.6369759,
            0.7045143,
            0.8647013,
            1.107188,
            0.6382085,
            0.7657221,
            0.9424938,
            1.15724,
        ],
    ),
    InpFormer: (
        [1.103716, 1.100748, 1.098033],
        [
            1.146748,
            1.301183,
            1.270834,
            1.058075,
            1.211768,
            1.30294,
            1.221778,
            0.9747618,
            1.26562,
            1.289996,
            1.163261,
            0.8955739,
            0.6771688,
            0.7349175,
            0.9033379,
            1.170028,
            0.6734348,
            0.7938102,
            0.9820526,
            1.224047,
            0.6904803,
            0.8671007,
            1.064193,
            1.266653,
        ],
    ),
}


@BOTH
def test_training_and_scores_are_the_originals(make: Make) -> None:
    levels = [numbers(2, 8, 4, 4, shift=0.3 * number) + 0.1 * number for number in range(4)]
    method = make((7, 8), epochs=1, num_heads=2, num_layers=4)
    if isinstance(method, InpFormer):
        method.num_prototypes = 3
    fill(built(method, [(8, 4, 4)] * 4), 0.3, ones="before")
    optimizers, _ = method.configure_optimizers()
    method.train()
    losses = []
    for number in (600, 601, 602):
        torch.manual_seed(number)  # Dropout is drawn in the same order.
        losses.append(float(method.training_step(levels, optimizers, Step(0, number, 10000), None)))
    expected, maps = RECORDED[make]  # type: ignore[index]
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=0)
    inside = method.score(levels).maps[:, 2:-2, 2:-2].flatten()
    torch.testing.assert_close(inside, torch.tensor(maps), rtol=1e-4, atol=1e-5)


def test_the_learning_rate_is_the_originals() -> None:
    found = [warm_cosine(done, 10000) for done in (0, 50, 99, 100, 600, 601, 9999)]
    expected = [0.0, 50 / 99, 1.0, 1.0, 0.9943475, 0.9943249, 0.1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


# ---- Literal versions ------------------------------------------------------------------------


def test_linear_attention_equals_the_literal_one() -> None:
    attention = fill(LinearAttention(4, 2), 0.5)
    tokens = torch.randn(2, 5, 4)
    mixed = attention.ask_find_tell(tokens).detach()
    expected = torch.zeros(2, 5, 4)
    for image in range(2):
        for head in (slice(0, 2), slice(2, 4)):
            queries, keys, values = (
                mixed[image, :, part : part + 4][:, head] for part in (0, 4, 8)
            )
            for asking in range(5):
                shares = []
                for found in range(5):
                    one, other = queries[asking], keys[found]
                    positive = [x + 1 if x > 0 else math.exp(x) for x in one.tolist()]
                    others = [x + 1 if x > 0 else math.exp(x) for x in other.tolist()]
                    shares.append(sum(a * b for a, b in zip(positive, others, strict=True)))
                expected[image, asking, head] = sum(
                    share / sum(shares) * value for share, value in zip(shares, values, strict=True)
                )  # type: ignore[assignment]
    torch.testing.assert_close(attention(tokens), attention.out(expected), rtol=1e-4, atol=1e-5)


def test_a_layer_sees_patches_as_prototypes_alone() -> None:
    layer, patches = fill(PrototypeLayer(4, 2), 0.5, ones="scale"), torch.randn(1, 5, 4)
    prototypes = torch.randn(1, 3, 4)
    normed = layer.before_attention(prototypes)
    queries = layer.ask(layer.before_attention(patches))[0]
    keys, values = layer.find_tell(normed)[0].split(4, 1)
    mixed = torch.zeros(5, 4)
    for patch in range(5):
        for head in (0, 1):
            some = slice(2 * head, 2 * head + 2)
            for prototype in range(3):
                one, other = queries[patch, some], keys[prototype, some]
                cosine = one @ other / (one.norm() * other.norm()) * layer.scale[head, 0, 0]
                mixed[patch, some] += cosine.clamp_min(0) * values[prototype, some]
    found = layer.out(mixed)
    expected = found + layer.mlp(layer.before_mlp(found))
    torch.testing.assert_close(layer(patches, prototypes)[0], expected, rtol=1e-4, atol=1e-5)


def test_prototypes_do_not_depend_on_the_patches_order() -> None:
    find, patches = fill(FindPrototypes(4, 2, 3), 0.5), torch.randn(2, 6, 4)
    turned = find(patches[:, torch.randperm(6)])
    torch.testing.assert_close(find(patches), turned)


def test_stable_adamw_equals_the_literal_one() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = StableAdamW([weight], 0.1, weight_decay=0.01)
    expected, mean, square, largest = [1.0, -2.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]
    for step, gradient in enumerate([[0.1, -0.2], [5.0, 0.3], [0.0, 0.1]], 1):
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        ratios = []
        for index, one in enumerate(gradient):
            mean[index] = 0.9 * mean[index] + 0.1 * one
            square[index] = 0.999 * square[index] + 0.001 * one * one
            largest[index] = max(largest[index], square[index])
            ratios.append(one / (math.sqrt(largest[index] / (1 - 0.999**step)) + 1e-10))
        excess = max(1, math.sqrt(sum(ratio**2 for ratio in ratios) / 2))
        for index in (0, 1):
            deviation = math.sqrt(largest[index] / (1 - 0.999**step)) + 1e-10
            expected[index] *= 1 - 0.1 * 0.01
            expected[index] -= 0.1 / (1 - 0.9**step) / excess * mean[index] / deviation
    torch.testing.assert_close(weight.detach(), torch.tensor(expected))


def test_easy_patches_have_a_tenth_of_the_gradient() -> None:
    method = tiny(Dinomaly)
    distances = torch.rand(3, 35)
    assert (method.weigh(distances, 0.0) == 1).all()
    weights = method.weigh(distances, 1.0)
    hard = distances.flatten().argsort()[-10:]
    assert (weights.flatten()[hard] == 1).all()
    assert weights.sum() == pytest.approx(10 + 95 * 0.1)


def test_levels_of_one_width_are_averaged_and_others_joined() -> None:
    same = [torch.randn(2, 3, 4) for _ in range(2)]
    torch.testing.assert_close(fuse(same), (same[0] + same[1]) / 2)
    assert fuse([same[0], torch.randn(2, 3, 5)]).shape == (2, 3, 9)
    assert split([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4, 5]]


# ---- Training and scores ---------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("shapes", [[(4, 1, 1)], [(4, 1, 5)], [(6, 2, 3), (6, 2, 3)], SHAPES])
@pytest.mark.parametrize("hidden_dim", [None, 6])
def test_levels_of_any_shape_train_to_finite_scores(make, shapes, hidden_dim) -> None:
    levels = sample(3, shapes)
    method = tiny(make, epochs=1, hidden_dim=hidden_dim)
    method.fit([levels])
    scores = method.score(levels)
    assert scores.maps.shape == (3, 20, 24)
    assert scores.maps.isfinite().all()
    pixels = scores.maps.flatten(1).sort(1, descending=True).values[:, : 480 // 100]
    torch.testing.assert_close(scores.image, pixels.mean(1))
    alone = method.score([level[1:2] for level in levels])
    torch.testing.assert_close(alone.maps[0], scores.maps[1], rtol=1e-4, atol=1e-5)


class KilledError(Exception):
    """Stands for a kill."""


@BOTH
def test_an_interrupted_training_goes_on_to_the_same_weights(make, tmp_path: Path) -> None:
    def stop(epochs: int, loss: float) -> None:
        if epochs == 3:
            raise KilledError

    features = InMemory(sample())
    methods = [tiny(make, epochs=4) for _ in range(3)]
    methods[0].train_on(features, CPU)
    with pytest.raises(KilledError):
        methods[1].train_on(features, CPU, folder=tmp_path, after_epoch=stop)
    heard: list[int] = []
    methods[2].train_on(
        features, CPU, folder=tmp_path, after_epoch=lambda epochs, loss: heard.append(epochs)
    )
    assert heard[0] > 1
    whole, resumed = methods[0].state_dict(), methods[2].state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    fresh = tiny(make)
    fresh.load_state_dict(whole)
    assert torch.equal(fresh.score(sample()).maps, methods[0].score(sample()).maps)


@BOTH
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"num_layers": 0}, "num_layers"), ({"hidden_dim": 0}, "hidden_dim"),
        ({"learning_rate": 0.0}, "learning_rate"), ({"num_groups": 0}, "num_groups"),
    ],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(make, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        tiny(make, **wrong)


def test_arguments_of_one_alone_are_refused_out_of_range() -> None:
    with pytest.raises(ValueError, match="dropout"):
        tiny(Dinomaly, dropout=1.0)
    with pytest.raises(ValueError, match="num_prototypes"):
        tiny(InpFormer, num_prototypes=0)


@BOTH
def test_it_separates_defects(make: Make) -> None:
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randn(3, 16, generator=generator)
    layout = kinds[torch.arange(64) % 3].T.reshape(1, 16, 8, 8)

    def images(count: int, *, defective: bool = False) -> Tensor:
        made = layout + 0.1 * torch.randn(count, 16, 8, 8, generator=generator)
        if defective:
            made[:, :, 2:4, 3:5] = torch.randn(count, 16, 2, 2, generator=generator)
        return made

    method = tiny(make, epochs=10, batch_size=8, hidden_dim=None)
    method.fit([[images(16)]])
    scores = method.score([torch.cat([images(20), images(20, defective=True)])])
    assert roc_auc_score([0] * 20 + [1] * 20, scores.image) > 0.95
    assert scores.maps[20:, 6:9, 10:13].mean() > 3 * scores.maps[:20].mean()
