"""The nearest of wide points, told from few dimensions: the same as from all, whatever they are."""

import pytest
import torch
from torch import Tensor, nn

from adpt.methods import PatchCore, coreset, nearest_patches
from adpt.methods.coreset import greedy_coreset
from adpt.methods.nearest_patches import NearestPatches, directions_of, shadows

POINTS, WIDTH = 2200, 520


def drawn(count: int, kind: str, seed: int) -> Tensor:
    """Wide points of one kind, the same directions whatever the seed."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "shapeless":
        return torch.randn(count, WIDTH, generator=generator)
    mixing = torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(9))
    points = torch.randn(count, 20, generator=generator) @ mixing
    points += 0.1 * torch.randn(count, WIDTH, generator=generator)
    if kind == "copies":
        points = points[torch.randint(0, 30, (count,), generator=generator)]
    return points + (1000 if kind == "far from the origin" else 0)


def literal(patches: Tensor, points: Tensor) -> Tensor:
    found = [(points.double() - patch).square().sum(1).min() for patch in patches.double()]
    return torch.stack(found)


KINDS = ["near few directions", "shapeless", "copies", "far from the origin"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_nearest_are_those_of_a_literal_search(kind: str) -> None:
    points = drawn(POINTS, kind, 0)
    search = NearestPatches(points)
    assert search.directions is not None
    # Among them some of the points themselves, and some unlike any.
    patches = torch.cat([drawn(40, kind, 1), points[:5], 30 * drawn(5, "shapeless", 2)])
    squares, rows = search.find(patches)
    torch.testing.assert_close(squares.double(), literal(patches, points), rtol=1e-5, atol=1e-2)
    assert squares[40:45].tolist() == [0] * 5
    torch.testing.assert_close(squares, (patches - points[rows]).square().sum(1))


def test_of_equally_near_points_the_first_is_found() -> None:
    points = drawn(POINTS, "near few directions", 0)
    points[POINTS // 2 :] = points[: POINTS // 2]
    _, rows = NearestPatches(points).find(points[: POINTS // 2])
    assert rows.tolist() == list(range(POINTS // 2))


@pytest.mark.parametrize("kind", ["near few directions", "shapeless"])
def test_hidden_points_are_not_found(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_patches, "_TILE", 0)  # 64 patches at a time.
    points = drawn(POINTS, kind, 0)
    hidden = torch.zeros(POINTS, dtype=torch.bool)
    hidden[:100] = True
    squares, rows = NearestPatches(points).find(points[:80], hidden)
    assert int(rows.min()) >= 100
    torch.testing.assert_close(
        squares.double(), literal(points[:80], points[100:]), rtol=1e-5, atol=0
    )


def test_points_that_few_dimensions_cannot_tell_apart_are_told_apart() -> None:
    mixing = torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(9))
    ones, moves = torch.randn(2, POINTS // 2, 20, generator=torch.Generator().manual_seed(0))
    points = torch.cat([ones @ mixing, (ones + 1e-4 * moves) @ mixing])
    squares, rows = NearestPatches(points).find(points)
    assert squares.tolist() == [0] * POINTS
    assert rows.tolist() == list(range(POINTS))


def test_an_image_has_the_same_distances_whatever_it_is_scored_with() -> None:
    search = NearestPatches(drawn(POINTS, "near few directions", 0))
    patches = drawn(300, "near few directions", 1)
    whole = search.find(patches)[0]
    assert torch.equal(whole, torch.cat([search.find(part)[0] for part in patches.split(7)]))


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_shadows_are_farther_apart_than_their_points(kind: str) -> None:
    points = drawn(200, kind, 0)
    directions = directions_of(drawn(300, "shapeless", 3))
    assert directions is not None
    low = shadows(points, points.mean(0), directions).double()
    assert low.shape == (200, 129)
    near, far = torch.cdist(low, low), torch.cdist(points.double(), points.double())
    largest = (points - points.mean(0)).square().sum(1).max().double()
    assert (near.square() - far.square()).max() < nearest_patches.ROUNDING * largest


def test_points_that_are_all_equal_have_directions_too() -> None:
    points = torch.ones(POINTS, WIDTH)
    squares, _ = NearestPatches(points).find(torch.ones(3, WIDTH) * torch.tensor([[1.0], [2], [3]]))
    assert squares.tolist() == pytest.approx([0, WIDTH, 4 * WIDTH])


@pytest.mark.parametrize("kind", KINDS)
def test_wide_points_are_picked_as_from_all_their_dimensions(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = drawn(1500, kind, 0)
    count = 30 if kind == "copies" else 150
    found = greedy_coreset(points, count, torch.Generator().manual_seed(0))
    monkeypatch.setattr(coreset, "directions_of", lambda _: None)
    expected = greedy_coreset(points, count, torch.Generator().manual_seed(0))
    assert torch.equal(points[found], points[expected])


def test_a_patch_longer_than_float32_holds_is_infinitely_far() -> None:
    points = drawn(POINTS, "near few directions", 0)
    patches = torch.cat([torch.full((1, WIDTH), 1e19), points[:3]])
    squares, rows = NearestPatches(points).find(patches)
    assert squares.tolist() == [torch.inf, 0, 0, 0]
    assert rows[1:].tolist() == [0, 1, 2]
    assert 0 <= int(rows[0]) < POINTS


class Asking(nn.Module):
    def forward(self, numbers: Tensor) -> Tensor:
        return numbers + (1 if nearest_patches.is_exporting() else 0)


def test_a_graph_knows_if_it_is_exported_as_the_oldest_torch_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = torch.zeros(3)
    exported = torch.export.export(Asking(), (numbers,), strict=False).module()
    compiled = torch.compile(Asking(), backend="eager")
    found = [float(module(numbers)[0]) for module in (Asking(), exported, compiled)]
    assert found == [0, 1, 0]
    monkeypatch.delattr(torch.compiler, "is_exporting", raising=False)  # It came with 2.7.
    method = PatchCore(8, coreset_ratio=1.0, embedding_dim=4)
    levels = [torch.arange(24.0).reshape(2, 3, 2, 2)]
    method.fit([levels])
    assert method.score(levels).image.tolist() == [0, 0]
