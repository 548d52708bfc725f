"""Parts cover everything once, and an exported graph has one of them."""

from itertools import chain

import pytest
import torch
from torch import Tensor, nn

from adpt.nearest import slices


@pytest.mark.parametrize(("length", "step"), [(7, 3), (6, 3), (2, 5), (3, 0), (3, -1), (1, 1)])
def test_parts_cover_a_length_in_order(length: int, step: int) -> None:
    items = list(range(length))
    parts = [items[part] for part in slices(length, step)]
    assert list(chain(*parts)) == items
    assert max(map(len, parts)) <= max(1, step)


def test_nothing_is_one_empty_part() -> None:
    assert [[][part] for part in slices(0, 4)] == [[]]


def test_an_exported_graph_takes_any_length() -> None:
    class Doubled(nn.Module):
        def forward(self, numbers: Tensor) -> Tensor:
            return torch.cat([numbers[part] * 2 for part in slices(numbers.shape[0], 2)])

    batch = {"numbers": {0: torch.export.Dim("batch")}}
    program = torch.export.export(Doubled(), (torch.ones(5),), dynamic_shapes=batch)
    assert program.module()(torch.arange(9.0)).tolist() == list(range(0, 18, 2))
