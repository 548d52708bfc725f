"""Work cut into parts, so that memory stays bounded however much there is."""

import torch


def slices(length: int, step: int) -> list[slice]:
    """Slices that cover a length, one after the other; one, an empty one, of length 0.

    While a graph is exported there is a single slice of all: a graph holds no loop over a length
    that is known only when it runs.

    Args:
        length: How much there is.
        step: The length of a part, or of the last one at most; 1 where it is below that.
    """
    if torch.compiler.is_compiling():
        return [slice(None)]
    step = max(1, step)
    return [slice(start, start + step) for start in range(0, max(1, length), step)]
