"""The largest product of each query, against all products at once."""

import pytest
import torch

from adpt import nearest
from adpt.nearest import largest_products


@pytest.mark.parametrize(("rows", "tile"), [(1, 1), (4, 3), (2**10, 2**11)])
@pytest.mark.parametrize("shifted", [False, True])
def test_it_is_that_of_all_products(
    monkeypatch: pytest.MonkeyPatch, rows: int, tile: int, shifted: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    # Small whole numbers: many products are equal, and the first of them is meant.
    queries, points = (torch.randint(-2, 3, (n, 3), generator=generator).float() for n in (30, 20))
    offsets = torch.randint(-2, 3, (20,), generator=generator).float() if shifted else None
    monkeypatch.setattr(nearest, "_QUERIES", rows)
    monkeypatch.setattr(nearest, "_TILE", tile)
    products = queries @ points.T + (0 if offsets is None else offsets)
    first = [row.tolist().index(row.max()) for row in products]
    assert largest_products(queries, points, offsets).tolist() == first


def test_no_queries_have_no_points() -> None:
    assert largest_products(torch.zeros(0, 3), torch.ones(2, 3)).shape == (0,)
