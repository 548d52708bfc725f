"""Values of all processes of a training, in each of them."""

import torch
from torch import Tensor
from torch.distributed.nn import functional as differentiable


def gather(values: Tensor) -> Tensor:
    """Rows (B, ...) of all processes, in order of rank; the gradient flows back to their origins.

    B may differ between processes.
    """
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return values
    world_size = torch.distributed.get_world_size()
    own = torch.tensor([len(values)], device=values.device)
    lengths = [torch.zeros_like(own) for _ in range(world_size)]
    torch.distributed.all_gather(lengths, own)
    counts = [int(length) for length in lengths]
    is_bool = values.dtype == torch.bool
    padded = values.new_zeros(max(counts), *values.shape[1:])
    padded = torch.cat([values, padded[len(values) :]])
    gathered = differentiable.all_gather(padded.to(torch.uint8) if is_bool else padded)
    rows = torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])
    return rows.bool() if is_bool else rows


def count(number: int, device: torch.device) -> Tensor:
    """The sum of all processes' numbers."""
    counted = torch.tensor(number, device=device)
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(counted)
    return counted
