"""The k normal training images of a class that others are compared with."""

from collections.abc import Sequence

import numpy as np

from adpt.data.sample import Sample
from adpt.data.sampling import draw_seed
from adpt.errors import UserError


def choose_references(samples: Sequence[Sample], shots: int, seed: int) -> list[Sample]:
    """Choose k of a class's normal training images as its references, by seed; all if fewer.

    Raises:
        UserError: `shots` is below 1.
    """
    if shots < 1:
        raise UserError(f"shots={shots}: residual features need at least 1 reference a class.")
    order = np.random.default_rng(draw_seed(seed, len(samples))).permutation(len(samples))
    return [samples[index] for index in sorted(order[:shots])]
