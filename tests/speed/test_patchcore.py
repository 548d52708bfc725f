"""Nearest distances against a loop over the queries."""

import pytest
import torch
from literal.patchcore import nearest_squared_distances as literal_distances

from adpt.methods import patchcore
from adpt.methods.patchcore import nearest_squared_distances


@pytest.mark.parametrize("numbers", [1, 1000, 2**22])
def test_distances_equal_the_loop_in_chunks_of_any_size(
    numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    bank = torch.randn(200, 32, generator=generator)
    queries = torch.cat([torch.randn(100, 32, generator=generator), bank[:5]])
    monkeypatch.setattr(patchcore, "_CHUNK_NUMBERS", numbers)
    found = nearest_squared_distances(queries, bank)
    torch.testing.assert_close(found, literal_distances(queries, bank), rtol=1e-6, atol=0)
    assert found[100:].tolist() == [0] * 5
