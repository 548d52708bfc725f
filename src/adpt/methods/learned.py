"""Methods that learn from levels of some shapes and score levels of the same."""

from collections.abc import Sequence

import torch
from torch import Tensor

from adpt.errors import UserError
from adpt.methods.base import Method

Shape = tuple[int, int, int]
"""(C, h, w) of a level."""


class LearnedMethod(Method):
    """A method that keeps the shapes of the levels it learned from with its state."""

    def __init__(self, image_size: int | Sequence[int] = 224) -> None:
        super().__init__(image_size)
        # Reading the buffer would wait for a GPU, and is no part of an exported graph.
        self._shapes: list[Shape] = []

    def remember_shapes(self, shapes: Sequence[Shape]) -> None:
        """Keep the (C, h, w) of each level with the state."""
        with torch.inference_mode(False):  # A buffer made in it cannot be loaded into later.
            self.register_buffer("level_shapes", torch.tensor(shapes))
        self._shapes = list(shapes)

    def learned_shapes(self) -> list[Shape]:
        """(C, h, w) of each level that was learned from; empty before that."""
        if not self._shapes and "level_shapes" in self._buffers:
            self._shapes = [(c, h, w) for c, h, w in self.get_buffer("level_shapes").tolist()]
        return self._shapes

    def check_fitted(self, levels: list[Tensor]) -> None:
        """Make sure that these levels can be scored, and move what was learned to their device.

        Raises:
            UserError: If nothing was learned yet or the levels are not of the fitted shapes.
        """
        name, shapes = type(self).__name__, self.learned_shapes()
        if not shapes:
            raise UserError(
                f"{name} has not learned anything to score against: call fit with normal "
                "features, or load_state_dict with a fitted state, first."
            )
        self.check_form(levels)
        check_shapes(shapes_of(levels), shapes, f"fitted {name} was trained on")
        if not torch.compiler.is_compiling():  # A graph's parts cannot be moved while it is traced.
            self.to(levels[0].device)

    def no_images(self) -> UserError:
        """The error for training batches that held no image."""
        return UserError(
            f"{type(self).__name__} was fitted on no images; it needs at least one normal image. "
            "Check that the training split is not empty and that the loader was not used up."
        )


def shapes_of(levels: Sequence[Tensor]) -> list[Shape]:
    """(C, h, w) of each level."""
    return [(level.shape[1], level.shape[2], level.shape[3]) for level in levels]


def check_shapes(found: list[Shape], expected: list[Shape], where: str) -> None:
    """Refuse, with a UserError, levels of other shapes than `where` had them."""
    if found != expected:
        raise UserError(
            f"Levels of shapes (C, h, w) {found} were given, but the {where} {expected}. "
            "Use one backbone, one choice of levels and one image size throughout, or fit anew."
        )
