"""The greedy coreset against a literal one and random picks."""

import pytest
import torch
from literal.coreset import literal_greedy
from torch import Tensor

from adpt.methods import coreset
from adpt.methods.coreset import greedy_coreset, project


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def radius(points: Tensor, picked: Tensor) -> float:
    return torch.cdist(points, points[picked]).amin(1).max().item()


def test_picks_what_a_literal_greedy_picks() -> None:
    points = torch.randn(60, 6, generator=seeded())
    picked = greedy_coreset(points, 20, seeded(3)).tolist()
    assert picked == literal_greedy(points.double().numpy(), 20, picked[0])


def test_picks_the_same_far_from_the_origin() -> None:
    points = torch.randn(60, 6, generator=seeded()).mul(1024).round() / 1024
    near = greedy_coreset(points, 20, seeded())
    assert torch.equal(near, greedy_coreset(points + 1000, 20, seeded()))


def test_picks_the_same_however_many_are_looked_at_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = torch.randn(300, 6, generator=seeded()) * torch.rand(300, 1, generator=seeded(1))
    start = greedy_coreset(points, 1, seeded()).item()
    expected = literal_greedy(points.double().numpy(), 60, int(start))
    for candidates, watched, chunk in [
        (1, 1, 1024), (2, 1000, 10), (7, 20, 1024), (50, 100, 3), (300, 300, 99), (1000, 1000, 1024)
    ]:  # fmt: skip
        monkeypatch.setattr(coreset, "_CANDIDATES", candidates)
        monkeypatch.setattr(coreset, "_WATCHED", watched)
        monkeypatch.setattr(coreset, "_ROWS", chunk)
        monkeypatch.setattr(coreset, "_PICKS", chunk)
        assert greedy_coreset(points, 60, seeded()).tolist() == expected


def test_fewer_picks_are_the_first_of_more() -> None:
    points = torch.randn(300, 6, generator=seeded())
    more = greedy_coreset(points, 60, seeded())
    assert torch.equal(greedy_coreset(points, 25, seeded()), more[:25])


def test_covers_better_than_random_picks() -> None:
    centres = torch.randn(15, 200, generator=seeded()) * 10
    # Most points share one centre, so random picks miss the rare ones.
    which = torch.cat([torch.arange(15), torch.zeros(285, dtype=torch.long)])
    points = centres[which] + torch.randn(300, 200, generator=seeded(1)) * 0.1
    for seed in range(5):
        greedy = greedy_coreset(points, 15, seeded(seed))
        drawn = torch.randperm(300, generator=seeded(seed))[:15]
        assert radius(points, greedy) < radius(points, drawn) / 5


def test_picks_differ_even_when_points_repeat() -> None:
    points = torch.randn(4, 3, generator=seeded()).repeat(10, 1)
    picked = greedy_coreset(points, 40, seeded()).tolist()
    assert sorted(picked) == list(range(40))
    assert sorted(index % 4 for index in picked[:4]) == [0, 1, 2, 3]


def test_seed_decides_the_picks() -> None:
    points = torch.randn(200, 150, generator=seeded())
    first = greedy_coreset(points, 10, seeded(1))
    assert torch.equal(first, greedy_coreset(points, 10, seeded(1)))
    assert not torch.equal(first, greedy_coreset(points, 10, seeded(2)))


def test_order_of_the_points_matters_only_through_the_start() -> None:
    points = torch.randn(50, 6, generator=seeded())
    picked = greedy_coreset(points, 12, seeded())
    start = picked[0].item()
    others = [index for index in torch.randperm(50, generator=seeded(5)).tolist() if index != start]
    order = torch.tensor([*others[:start], start, *others[start:]])
    again = greedy_coreset(points[order], 12, seeded())
    assert order[again].tolist() == picked.tolist()


@pytest.mark.parametrize("count", [0, 6])
def test_impossible_count_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="between 1 and all 5"):
        greedy_coreset(torch.zeros(5, 2), count, seeded())


def test_projection_keeps_distances_roughly_and_narrow_points_as_they_are() -> None:
    points = torch.randn(200, 600, generator=seeded(1))
    mapped = project(points, 128, seeded(2))
    assert mapped.shape == (200, 128)
    ratio = torch.pdist(mapped) / torch.pdist(points)
    assert 0.97 < ratio.mean() < 1.03
    assert ratio.min() > 0.7
    assert ratio.max() < 1.3
    assert torch.equal(mapped, project(points, 128, seeded(2)))
    assert project(points, 600, seeded(2)) is points
