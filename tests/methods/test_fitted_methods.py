"""What holds for every method that keeps tensors learned from normal features."""

from collections.abc import Callable, Iterator
from io import BytesIO

import pytest
import torch
from torch import Tensor, nn

from adpt.errors import UserError
from adpt.methods import Method, PaDiM, PatchCore

SHAPES = [(3, 5, 4), (7, 3, 3), (12, 2, 2)]
Make = Callable[[], Method]

pytestmark = pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: PaDiM(20), id="PaDiM"),
        pytest.param(lambda: PatchCore(20, coreset_ratio=0.3, embedding_dim=16), id="PatchCore"),
    ],
)


def draw(images: int, seed: int = 0, shapes: list[tuple[int, ...]] = SHAPES) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(images, *shape, generator=generator) for shape in shapes]


def fitted(make: Make, train: list[Tensor] | None = None) -> Method:
    method = make()
    method.fit([train or draw(6)])
    return method


def test_scores_have_the_promised_shapes(make: Make) -> None:
    scores = fitted(make).score(draw(4, seed=1))
    assert scores.maps.shape == (4, 20, 20)
    assert scores.image.shape == (4,)


def test_score_of_an_image_is_the_same_alone_and_in_a_batch(make: Make) -> None:
    method, levels = fitted(make), draw(5, seed=1)
    together = method.score(levels)
    for image in range(5):
        alone = method.score([level[image : image + 1] for level in levels])
        torch.testing.assert_close(alone.maps[0], together.maps[image], rtol=1e-6, atol=0)
        torch.testing.assert_close(alone.image[0], together.image[image], rtol=1e-6, atol=0)


def test_fit_reads_a_generator_once_and_skips_empty_batches(make: Make) -> None:
    train, test = draw(6), draw(2, seed=1)
    taken: list[int] = []

    def batches() -> Iterator[list[Tensor]]:
        for start, stop in [(0, 0), (0, 4), (4, 6)]:
            taken.append(start)
            yield [level[start:stop] for level in train]

    method = make()
    method.fit(batches())
    assert taken == [0, 0, 4]
    torch.testing.assert_close(method.score(test).maps, fitted(make, train).score(test).maps)


def test_fit_and_score_leave_the_features_alone(make: Make) -> None:
    train, test = draw(6), draw(2, seed=1)
    fitted(make, train).score(test)
    assert all(torch.equal(a, b) for a, b in zip(train, draw(6), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(test, draw(2, seed=1), strict=True))


def test_a_second_fit_forgets_the_first(make: Make) -> None:
    train, test = draw(4, seed=3), draw(2, seed=1)
    method = fitted(make, draw(30))
    method.fit([train])
    fresh = fitted(make, train)
    assert method.state_dict().keys() == fresh.state_dict().keys()
    assert torch.equal(method.score(test).maps, fresh.score(test).maps)


@pytest.mark.parametrize("known", ["nothing", "more levels and images"])
def test_state_survives_saving_and_loading(make: Make, known: str) -> None:
    method, test = fitted(make), draw(3, seed=1)
    # Inside another module, as in a checkpoint.
    file = BytesIO()
    torch.save(nn.ModuleDict({"method": method}).state_dict(), file)
    file.seek(0)
    other = make()
    if known != "nothing":
        shapes = [*SHAPES, (4, 2, 2)]
        other.fit([draw(15, shapes=shapes)])
        other.score(draw(1, shapes=shapes))
    nn.ModuleDict({"method": other}).load_state_dict(torch.load(file))
    assert torch.equal(other.score(test).maps, method.score(test).maps)
    assert other.state_dict().keys() == method.state_dict().keys()


def test_state_of_another_method_is_refused(make: Make) -> None:
    state = {"centre": torch.zeros(3), "bank_of_something": torch.zeros(2)}
    with pytest.raises(RuntimeError, match="Unexpected key"):
        make().load_state_dict(state)


def test_autocast_and_inference_mode_change_nothing(make: Make) -> None:
    train, test = draw(6), draw(2, seed=1)
    plain = fitted(make, train).score(test)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        method = fitted(make, [level.clone() for level in train])
        reduced = method.score(test)
    assert torch.equal(reduced.maps, plain.maps)
    assert not any(buffer.is_inference() for buffer in method.buffers())


def test_half_precision_features_are_scored_in_single_precision(make: Make) -> None:
    train, test = draw(6), draw(2, seed=1)
    halves = fitted(make, [level.half() for level in train]).score([x.half() for x in test])
    singles = fitted(make, [level.half().float() for level in train])
    assert halves.maps.dtype == torch.float32
    assert torch.equal(halves.maps, singles.score([x.half().float() for x in test]).maps)


def test_scores_carry_no_gradient(make: Make) -> None:
    train = [level.requires_grad_() for level in draw(6)]
    scores = fitted(make, train).score(train)
    assert not scores.maps.requires_grad


def test_score_before_fit_is_refused(make: Make) -> None:
    with pytest.raises(UserError, match="call fit"):
        make().score(draw(1))


@pytest.mark.parametrize("batches", [[], [draw(0)]])
def test_fit_on_no_images_is_refused(make: Make, batches: list[list[Tensor]]) -> None:
    with pytest.raises(UserError, match="no images"):
        make().fit(batches)


@pytest.mark.parametrize(
    "levels",
    [draw(1)[:2], draw(1, shapes=[(3, 5, 4), (7, 3, 3), (12, 3, 2)]), [*draw(1), *draw(1)]],
    ids=["fewer", "other grid", "more"],
)
def test_levels_unlike_the_fitted_ones_are_refused(make: Make, levels: list[Tensor]) -> None:
    with pytest.raises(UserError, match=r"were given, but the fitted .* \(12, 2, 2\)"):
        fitted(make).score(levels)
    with pytest.raises(UserError, match="but the earlier training batches had"):
        make().fit([draw(2), levels])


@pytest.mark.parametrize("levels", [[], [torch.zeros(2, 5, 3)], [*draw(1), *draw(2)]])
def test_malformed_levels_are_refused(make: Make, levels: list[Tensor]) -> None:
    with pytest.raises(UserError, match="takes one \\(B, C, h, w\\) tensor a level"):
        make().fit([levels])


def test_no_half_fitted_state_is_left_by_a_failed_fit(make: Make) -> None:
    method, test = fitted(make), draw(1, seed=1)
    before = method.score(test).maps
    with pytest.raises(UserError):
        method.fit([draw(2, seed=2), draw(1)[:1]])
    assert torch.equal(method.score(test).maps, before)
