"""Nearest distances against a loop over the queries."""

import pytest
import torch
from literal.patchcore import nearest_squared_distances as literal_distances

from adpt import nearest
from adpt.methods import nearest_patches
from adpt.methods.nearest_patches import NearestPatches


@pytest.mark.parametrize(("rows", "tile"), [(1, 1), (30, 64), (2**10, 2**11)])
def test_distances_equal_the_loop_in_tiles_of_any_size(
    rows: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    bank = torch.randn(200, 32, generator=generator)
    queries = torch.cat([torch.randn(100, 32, generator=generator), bank[:5]])
    monkeypatch.setattr(nearest_patches, "_ROWS", rows)
    monkeypatch.setattr(nearest, "_TILE", tile)
    found = NearestPatches(bank).find(queries)[0]
    torch.testing.assert_close(found, literal_distances(queries, bank), rtol=1e-6, atol=0)
    assert found[100:].tolist() == [0] * 5
