"""The benchmark of training steps counts all their matrix products and times them."""

import pytest
import torch
from parts import products


def test_all_products_of_a_step_are_counted_forward_and_backward() -> None:
    weight = torch.randn(5, 3, requires_grad=True)
    inputs = torch.randn(7, 3)

    def step() -> None:
        (inputs @ weight.T).square().sum().backward()

    again, operations = products.products_of(step)
    assert operations == 2 * 2 * 7 * 3 * 5  # The inputs need no gradient.
    again()


def test_a_step_is_held_against_its_products_and_the_ceiling() -> None:
    found = list(products.rows(channels=8, side=4, runs=1))
    parts = [
        name for one in ("CFlow", "UniAD") for name in (f"{one} step",) * 2 + (f"{one} products",)
    ]
    assert [row.part for row in found] == parts
    for whole, share, alone in (found[:3], found[3:]):
        assert whole.ratio == pytest.approx(whole.other / whole.ours)
        assert (share.goal, whole.goal, alone.goal) == (1 / 1.5, None, None)
