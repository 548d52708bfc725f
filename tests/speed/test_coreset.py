"""The coreset against the plain greedy pass, and its radius against that of mapped points."""

import torch
from literal.coreset import literal_greedy, plain_greedy
from torch import Tensor

from adpt.methods.coreset import greedy_coreset


def drawn(width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(20, width, generator=generator)
    weights = torch.randn(600, 20, generator=generator) * torch.logspace(0, -1, 20)
    return weights @ directions + 0.1 * torch.randn(600, width, generator=generator)


def picks(points: Tensor, count: int) -> list[int]:
    return greedy_coreset(points, count, torch.Generator().manual_seed(0)).tolist()


def test_picks_are_those_of_the_plain_pass() -> None:
    points = drawn(100)
    picked = picks(points, 200)
    assert picked == plain_greedy(points, 200, picked[0])
    assert picked[:20] == literal_greedy(points.double().numpy(), 20, picked[0])


def test_radius_is_no_worse_than_that_of_points_mapped_to_128_dimensions() -> None:
    points = drawn(512)
    picked = picks(points, 60)
    mapped = plain_greedy(points, 60, picked[0])
    assert mapped != picked

    def radius(chosen: list[int]) -> float:
        return torch.cdist(points, points[chosen]).amin(1).max().item()

    assert radius(picked) <= radius(mapped)
