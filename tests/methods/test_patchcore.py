"""PatchCore against a literal float64 version and scikit-learn."""

import numpy as np
import pytest
import torch
from literal import patchcore as literal
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from adpt import nearest
from adpt.errors import UserError
from adpt.methods import PatchCore, nearest_patches, neighbourhood
from adpt.methods.coreset import greedy_coreset
from adpt.methods.nearest_patches import NearestPatches

SIZE = (18, 22)
SHAPES = [(2, 7, 6), (3, 5, 4), (5, 3, 3), (4, 2, 6)]


def draw(images: int, seed: int = 0, scale: float = 1.0, offset: float = 0.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(images, *shape, generator=generator) * scale + offset for shape in SHAPES]


def fitted(train: list[Tensor], ratio: float = 1.0, seed: int = 0, **kwargs: int) -> PatchCore:
    method = PatchCore(SIZE, coreset_ratio=ratio, embedding_dim=16, seed=seed, **kwargs)
    method.fit([train])
    return method


@pytest.mark.parametrize("width", [7, 16, 40, 200])
def test_embedding_equals_the_literal_version(width: int) -> None:
    levels = draw(2)
    found = PatchCore(SIZE, embedding_dim=width).embed(levels)
    np.testing.assert_allclose(found, literal.embedding(levels[1:], width), atol=1e-6)


@pytest.mark.parametrize("width", [1, 2, 33])
@pytest.mark.parametrize(
    "shapes",
    [
        [(3, 1, 1)],
        [(3, 4, 4), (4, 1, 1)],
        [(3, 1, 1), (4, 3, 3)],
        [(3, 4, 6), (5, 6, 4)],
        [(1, 1, 9), (1, 4, 1), (2, 2, 2)],
    ],
)
def test_levels_of_any_shape_are_embedded(shapes: list[tuple[int, int, int]], width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(2, *shape, generator=generator) for shape in shapes]
    found = neighbourhood.embed_neighbourhoods(levels, width)
    np.testing.assert_allclose(found, literal.embedding(levels, width), atol=1e-6)
    none = neighbourhood.embed_neighbourhoods([level[:0] for level in levels], width)
    assert none.shape == (0, *found.shape[1:])


def test_an_embedding_has_gradients_after_one_without() -> None:
    levels = draw(1)[1:]
    neighbourhood._averages.cache_clear()
    with torch.inference_mode():
        neighbourhood.embed_neighbourhoods(levels, 16)
    for level in levels:
        level.requires_grad_()
    neighbourhood.embed_neighbourhoods(levels, 16).sum().backward()
    assert all(level.grad is not None and level.grad.any() for level in levels)


def test_an_embedding_has_the_same_bits_in_any_batch() -> None:
    levels = draw(5)
    method = PatchCore(SIZE, embedding_dim=40)
    together = method.embed(levels)
    apart = [method.embed([level[some] for level in levels]) for some in (slice(2), slice(2, 5))]
    assert torch.equal(torch.cat(apart), together)


@pytest.mark.parametrize(("num_levels", "grid"), [(1, (2, 6)), (3, (5, 4)), (9, (7, 6))])
def test_uses_the_last_levels_or_all(num_levels: int, grid: tuple[int, int]) -> None:
    levels = draw(1)
    found = PatchCore(SIZE, embedding_dim=16, num_levels=num_levels).embed(levels)
    np.testing.assert_allclose(found, literal.embedding(levels[-num_levels:], 16), atol=1e-6)
    assert found.shape[1] == grid[0] * grid[1]


def test_score_equals_the_literal_version() -> None:
    train, test = draw(4), draw(3, seed=1)
    scores = fitted(train).score(test)
    bank = literal.embedding(train[1:], 16).reshape(-1, 16)
    maps, image = literal.maps(literal.embedding(test[1:], 16), bank, (5, 4), SIZE)
    np.testing.assert_allclose(scores.maps, maps, rtol=1e-5)
    np.testing.assert_allclose(scores.image, image, rtol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_nearest_distances_equal_scikit_learn(offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    bank = torch.randn(50, 8, generator=generator) + offset
    queries = torch.randn(30, 8, generator=generator) + offset
    oracle = NearestNeighbors(n_neighbors=1).fit(bank.double().numpy())
    expected = oracle.kneighbors(queries.double().numpy())[0][:, 0] ** 2
    np.testing.assert_allclose(NearestPatches(bank).find(queries)[0], expected, rtol=1e-5)


def test_training_images_score_zero_when_all_patches_are_kept() -> None:
    train = draw(4, scale=10, offset=200)
    scores = fitted(train).score(train)
    assert scores.image.abs().max().item() == 0
    assert scores.maps.abs().max().item() == 0
    assert fitted(train, ratio=0.1).score(train).image.min().item() > 1


@pytest.mark.parametrize(
    ("images", "ratio", "size"),
    [(4, 1.0, 80), (4, 0.1, 8), (4, 0.99, 79), (4, 0.001, 1), (5, 0.29, 29), (5, 0.57, 57)],
)
def test_bank_holds_the_asked_share_of_the_training_patches(
    images: int, ratio: float, size: int
) -> None:
    train = draw(images)
    method = fitted(train, ratio=ratio)
    bank = method.get_buffer("bank")
    assert bank.shape == (size, 16)
    every = method.embed(train).flatten(0, 1)
    assert int((bank[:, None] == every).all(-1).any(0).sum()) == size


def test_how_images_are_batched_does_not_change_the_bank() -> None:
    train = draw(5)
    together = fitted(train, ratio=0.2)
    apart = PatchCore(SIZE, coreset_ratio=0.2, embedding_dim=16)
    apart.fit([level[slice(*part)] for level in train] for part in [(0, 2), (2, 3), (3, 5)])
    assert torch.equal(together.get_buffer("bank"), apart.get_buffer("bank"))


def test_order_of_training_images_does_not_matter_when_all_patches_are_kept() -> None:
    train, test = draw(5), draw(3, seed=1)
    backwards = fitted([level.flip(0) for level in train]).score(test)
    torch.testing.assert_close(fitted(train).score(test).maps, backwards.maps, rtol=1e-6, atol=0)


def test_seed_decides_the_bank() -> None:
    train = draw(5)
    banks = [fitted(train, ratio=0.1, seed=seed).get_buffer("bank") for seed in (0, 0, 1)]
    assert torch.equal(banks[0], banks[1])
    assert not torch.equal(banks[0], banks[2])


def test_scores_grow_with_the_square_of_the_features_scale() -> None:
    train, test = draw(4), draw(3, seed=1)
    plain = fitted(train, ratio=0.3).score(test)
    scaled = fitted([4 * level for level in train], ratio=0.3).score([4 * x for x in test])
    torch.testing.assert_close(scaled.maps, 16 * plain.maps, rtol=1e-5, atol=0)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = draw(4), draw(3, seed=1)
    whole = fitted(train, ratio=0.5).score(test).maps
    monkeypatch.setattr(nearest_patches, "_ROWS", 7)
    monkeypatch.setattr(nearest, "_TILE", 5)
    monkeypatch.setattr(neighbourhood, "_ROWS", 3)
    chunked = fitted(train, ratio=0.5).score(test).maps
    torch.testing.assert_close(chunked, whole, rtol=1e-6, atol=0)


def test_coreset_keeps_rare_normal_patches_that_a_random_bank_loses() -> None:
    generator = torch.Generator().manual_seed(0)

    def images(count: int, corner: Tensor) -> Tensor:
        level = 0.1 * torch.randn(count, 6, 8, 8, generator=generator)
        level[:, :, :3, :3] += corner[:, None, None]
        return level

    rare = torch.tensor([3.0, 0, 0, 0, 0, 0])
    odd = torch.tensor([0.0, 3, 0, 0, 0, 0])
    train = images(20, rare)
    train[1:, :, :3, :3] = 0.1 * torch.randn(19, 6, 3, 3, generator=generator)
    test = torch.cat([images(10, rare), images(10, odd)])
    truth = [0] * 10 + [1] * 10
    method = PatchCore(SIZE, coreset_ratio=0.02, embedding_dim=54)
    method.fit([[train]])
    assert roc_auc_score(truth, method.score([test]).image) == 1.0

    every = method.embed([train]).flatten(0, 1)
    size = len(method.get_buffer("bank"))
    drawn = []
    for _ in range(5):
        method.bank = every[torch.randperm(len(every), generator=generator)[:size]]
        drawn.append(roc_auc_score(truth, method.score([test]).image))
    assert np.mean(drawn) < 0.9


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"coreset_ratio": 0.0}, "coreset_ratio is 0.0"),
        ({"coreset_ratio": 10}, "coreset_ratio is 10"),
        ({"projection_dim": 0}, "projection_dim is 0"),
        ({"embedding_dim": 0}, "embedding_dim is 0"),
        ({"num_levels": 0}, "num_levels is 0"),
        ({"max_patches": 0}, "max_patches is 0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        PatchCore(SIZE, **arguments)  # type: ignore[arg-type]


def test_a_bank_of_all_patches_holds_no_memory_beside_them() -> None:
    bank = fitted(draw(4)).get_buffer("bank")
    held = bank.untyped_storage().nbytes()  # All of it would be saved and copied with the bank.
    assert held == bank.nbytes


def test_a_coreset_starts_from_as_many_patches_as_are_asked_for() -> None:
    train = draw(8)
    method = fitted(train, 0.2, num_starts=10)
    patches = method.embed(train).flatten(0, 1)
    picks = greedy_coreset(patches, len(patches) // 5, torch.Generator().manual_seed(0), 10)
    assert torch.equal(method.get_buffer("bank"), patches[picks])
    assert not torch.equal(fitted(train, 0.2).get_buffer("bank"), patches[picks])


def test_maps_of_images_left_out_have_the_grid_of_the_last_levels() -> None:
    train = draw(3)
    left_out = fitted(train).left_out_scores([train])
    assert left_out is not None
    one, others = [level[:1] for level in train], [level[1:] for level in train]
    expected = fitted(others).score(one)
    torch.testing.assert_close(left_out.maps[:1], expected.maps, rtol=1e-4, atol=1e-4)


def test_images_left_out_are_checked_and_read_as_those_that_are_scored() -> None:
    halves = [level.half() for level in draw(4)]
    singles = [level.float() for level in halves]
    method = fitted(singles)
    of_halves, of_singles = (method.left_out_scores([read]) for read in (halves, singles))
    assert of_halves is not None
    assert of_singles is not None
    assert torch.equal(of_halves.maps, of_singles.maps)
    with pytest.raises(UserError, match="fit"):
        method.left_out_scores([[level[:, :, 1:] for level in singles]])


def test_a_projection_changes_which_patches_are_kept_and_not_the_patches() -> None:
    train = draw(8)
    everything = fitted(train).get_buffer("bank")
    whole = fitted(train, 0.2).get_buffer("bank")
    mapped = fitted(train, 0.2, projection_dim=2).get_buffer("bank")
    assert mapped.shape == whole.shape
    assert not torch.equal(mapped.sort(0).values, whole.sort(0).values)
    assert torch.cdist(mapped, everything).amin(1).max() < 1e-3


def test_a_loaded_bank_of_another_width_is_refused() -> None:
    other = PatchCore(SIZE, embedding_dim=8)
    other.load_state_dict(fitted(draw(2)).state_dict())
    with pytest.raises(UserError, match=r"embedding_dim 8.*16 numbers"):
        other.score(draw(1))


def test_a_bounded_bank_is_the_first_part_of_the_whole_one() -> None:
    train = draw(8)
    whole = fitted(train, 0.2).get_buffer("bank")
    assert torch.equal(fitted(train, 0.2, max_patches=9).get_buffer("bank"), whole[:9])
    assert torch.equal(fitted(train, 0.2, max_patches=10**6).get_buffer("bank"), whole)
