"""One method for each window of a picture, for parts that always lie in the same place."""

from collections.abc import Callable, Iterable, Sequence
from math import lcm
from typing import cast

import torch
from torch import Tensor, nn

from adpt.errors import UserError
from adpt.methods.base import Method, Scores, tells_left_out
from adpt.windows import OVERLAP, Windows, check_windows


class PerWindow(Method):
    """Fit a method of its own for each window, and lay their maps together.

    A patch is compared with normal ones of its own window alone. Each method is fitted on its whole
    window, overlaps too, so that a part may lie half an overlap beside its place. The score of an
    image is the largest of its windows'.

    Memory: fitting holds the training features (images·C·h·w floats a level), then fits one window
    after the other.

    Args:
        method: Makes the method of a window; its maps are of a window's size.
        image_size: Side of the score maps, in pixels, or (height, width).
        overlap: Share of a window's side that it has in common with the next one, as that of the
            backbone's windows.

    Raises:
        ValueError: If windows of such maps do not lie within the image.
    """

    def __init__(
        self,
        method: Callable[[], Method],
        image_size: int | Sequence[int],
        overlap: float = OVERLAP,
    ) -> None:
        super().__init__(image_size)
        first = method()
        self.window, self.overlap = first.image_size, overlap
        self.uses_class_token = first.uses_class_token
        if any(w > side for w, side in zip(self.window, self.image_size, strict=True)):
            raise ValueError(f"windows of {self.window} do not lie within {self.image_size} pixels")
        count = len(Windows.of(self.image_size, self.window, overlap))
        self.methods = nn.ModuleList([first, *(method() for _ in range(count - 1))])

    @property
    def each(self) -> list[Method]:
        """The windows' methods, row by row."""
        return cast(list[Method], list(self.methods))

    def fit(self, batches: Iterable[list[Tensor]]) -> None:
        """Fit the method of each window; see `Method`."""
        _, seen = self._by_window(batches)
        for method, batch in zip(self.each, seen, strict=True):
            method.fit(batch)

    def score(self, levels: list[Tensor]) -> Scores:
        """Maps laid together, and each image's largest score of a window; see `Method`."""
        windows, seen = self._by_window([levels])
        found = [one.score(batch[0]) for one, batch in zip(self.each, seen, strict=True)]
        return _laid(windows, found)

    def left_out_scores(self, batches: Iterable[list[Tensor]]) -> Scores | None:
        """Likewise of left-out scores; None where the method of a window has none."""
        if not tells_left_out(type(self.each[0])):
            return None
        windows, seen = self._by_window(batches)
        found = []
        for one, batch in zip(self.each, seen, strict=True):
            if (scores := one.left_out_scores(batch)) is None:
                return None
            found.append(scores)
        return _laid(windows, found)

    def extend(self, batches: Iterable[list[Tensor]], images: int) -> Scores:
        """Likewise of further images; see `Method`."""
        if not tells_left_out(type(self.each[0])):
            return super().extend(batches, images)
        windows, seen = self._by_window(batches)
        pairs = zip(self.each, seen, strict=True)
        return _laid(windows, [one.extend(batch, images) for one, batch in pairs])

    def _by_window(
        self, batches: Iterable[list[Tensor]]
    ) -> tuple[Windows, list[list[list[Tensor]]]]:
        """The windows, and all batches of levels as each of them has them."""
        read = list(batches)
        if not read:
            raise UserError("There is no image to fit on: check that the training split has some.")
        for levels in read:
            self.check_form(levels)
        sides = [(self.image_size[n], level.shape[2 + n]) for level in read[0] for n in (0, 1)]
        patch = lcm(*(max(1, pixels // patches) for pixels, patches in sides))
        check_windows(self.image_size, self.window, self.overlap, patch)
        windows = Windows.of(self.image_size, self.window, self.overlap, patch)
        cut = [zip(*map(windows.cut, levels), strict=True) for levels in read]
        return windows, [[list(levels) for levels in window] for window in zip(*cut, strict=True)]


def _laid(windows: Windows, scores: Sequence[Scores]) -> Scores:
    maps = windows.lay([one.maps for one in scores])
    return Scores(maps, torch.stack([one.image for one in scores]).amax(0))
