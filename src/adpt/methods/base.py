"""What every anomaly detection method does: fit on normal features, score others."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor, nn


class Scores(NamedTuple):
    """Anomaly scores of a batch; larger is more anomalous, the range is the method's own.

    Attributes:
        maps: (B, H, W), a score a pixel.
        image: (B,), a score an image.
    """

    maps: Tensor
    image: Tensor


class Method(nn.Module, ABC):
    """An anomaly detection method on feature levels.

    What `fit` learns lies in buffers, so that a fitted method is saved by its `state_dict`.
    The scores of an image depend on that image alone, not on the batch it came in.

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
    """

    def __init__(self, image_size: int | Sequence[int] = 224) -> None:
        super().__init__()
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.image_size = (int(height), int(width))

    @abstractmethod
    def fit(self, batches: Iterable[list[Tensor]]) -> None:
        """Learn what normal features look like.

        Args:
            batches: Batches of normal images' levels, each a list of (B, C, h, w); read once.
        """

    @abstractmethod
    def score(self, levels: list[Tensor]) -> Scores:
        """Score a batch of images.

        Args:
            levels: One (B, C, h, w) tensor a level.
        """
