"""The benchmark of training steps counts all their matrix products and times them."""

import pytest
import torch
from parts import products

from adpt.methods.flow import CouplingBlock


def test_all_products_of_a_step_are_counted_forward_and_backward() -> None:
    weight = torch.randn(5, 3, requires_grad=True)
    inputs = torch.randn(7, 3)

    def step() -> None:
        (inputs @ weight.T).square().sum().backward()

    again, operations = products.products_of(step)
    assert operations == 2 * 2 * 7 * 3 * 5  # The inputs need no gradient.
    again()


def test_a_step_is_held_against_its_products_and_the_ceiling() -> None:
    beside, *found = products.rows(channels=8, side=4, runs=1)
    assert (beside.part, beside.other_name) == ("CFlow step", "positions concatenated to patches")
    parts = [
        name for one in ("CFlow", "UniAD") for name in (f"{one} step",) * 2 + (f"{one} products",)
    ]
    assert [row.part for row in found] == parts
    for whole, share, alone in (found[:3], found[3:]):
        assert whole.ratio == pytest.approx(whole.other / whole.ours)
        assert (share.goal, whole.goal, alone.goal) == (1 / 1.5, None, None)


def test_concatenated_positions_say_the_same() -> None:
    block = CouplingBlock(6, 4)
    kept, conditions, places = torch.randn(5, 3), torch.randn(2, 4), torch.tensor([1, 0, 0, 1, 1])
    for of in (conditions, places), (torch.randn(5, 4), None):
        literal = products.concatenating(block, kept, *of)
        torch.testing.assert_close(literal, block._raw(kept, *of))
