"""Weights and inputs by formula, the same here as where an original's numbers were recorded."""

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def numbers(*shape: int, shift: float = 0.0) -> Tensor:
    """Numbers from -1 to 1 without any pattern to speak of."""
    places = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(places * 1.7 + shift).reshape(shape).float()


def fill(module: M, scale: float, *, ones: str = "norm") -> M:
    """Give each parameter numbers by its name; 1 is added to the weights of normalisations.

    Args:
        module: What is filled, and given back.
        scale: Largest number.
        ones: In the names of normalisations.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            shift = sum(map(ord, name)) % 101
            parameter.copy_(scale * numbers(*parameter.shape, shift=shift))
            if ones in name and (name.endswith("weight") or name == ones):
                parameter.add_(1)
    return module
