"""Methods that keep what they learned in buffers whose shapes are known only after fitting."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from adpt.errors import UserError
from adpt.methods.learned import LearnedMethod, Shape, check_shapes, shapes_of


class FittedMethod(LearnedMethod):
    """A method whose knowledge is tensors of any number and shape, saved by `state_dict`.

    A subclass names the tensors in `learned`, and has the mathematics: `learn` and `score`. A state
    loads into an instance made with the same arguments, fitted or not. Scoring moves the tensors to
    the device of the levels it is given.
    """

    learned: ClassVar[tuple[str, ...]]
    """Names of the learned tensors; one a level bears the level's number: `mean_0`, `mean_1`."""

    def learn(self, batches: Iterable[list[Tensor]]) -> Mapping[str, Tensor]:
        """Learn what normal features look like.

        Args:
            batches: Levels of normal images, one (B, C, h, w) float32 tensor a level, on the
                device that computes; checked, at least one image in all, to be read once.

        Returns:
            Tensors by their names in `learned`; from then on buffers, such as `self.mean`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no learn().")

    def fit(self, batches: Iterable[list[Tensor]]) -> None:
        """Learn anew; nothing is left of a former fit, and a fit that fails changes nothing.

        Raises:
            UserError: There is no image, levels differ between batches, or values are not finite.
        """
        checked = self.read(batches)
        learned = self.learn(checked)
        self.remember(checked.shapes, learned)

    def read(self, batches: Iterable[list[Tensor]]) -> "CheckedBatches":
        """Batches that are checked as they pass."""
        return CheckedBatches(self, batches)

    def remember(self, shapes: list[Shape], tensors: Mapping[str, Tensor]) -> None:
        """Replace what was learned: tensors by name, for scoring levels of shapes (C, h, w)."""
        self._forget()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)
        self.remember_shapes(shapes)

    def _forget(self) -> None:
        for name in [name for name in self._buffers if self._is_learned(name)]:
            delattr(self, name)
        self._shapes = []

    def _is_learned(self, name: str) -> bool:
        stem, _, level = name.rpartition("_")
        return (
            name == "level_shapes"
            or name in self.learned
            or (level.isdigit() and stem in self.learned)
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        saved = {
            key.removeprefix(prefix): value
            for key, value in state_dict.items()
            if key.startswith(prefix) and self._is_learned(key.removeprefix(prefix))
        }
        if saved:
            device = next((buffer.device for buffer in self.buffers()), None)
            self._forget()
            for name, value in saved.items():
                self.register_buffer(name, torch.empty_like(value, device=device or value.device))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class CheckedBatches:
    """Training batches with images in them, once through, as float32.

    Raises, while it is read:
        UserError: There is no image, levels differ between batches, or values are not finite.

    Attributes:
        shapes: (C, h, w) of each level, once a batch was read.
    """

    def __init__(self, method: LearnedMethod, batches: Iterable[list[Tensor]]) -> None:
        self.method, self.batches = method, batches
        self.shapes: list[Shape] = []

    def __iter__(self) -> Iterator[list[Tensor]]:
        images = 0
        for levels in self.batches:
            self.method.check_form(levels)
            found = shapes_of(levels)
            self.shapes = self.shapes or found
            check_shapes(found, self.shapes, "earlier training batches had")
            if not len(levels[0]):
                continue
            images += len(levels[0])
            # NaN and infinity reach the extremes; looking at each value would take a copy.
            if not all(bool(torch.stack(level.aminmax()).isfinite().all()) for level in levels):
                raise UserError(
                    f"{type(self.method).__name__} was given training features with NaN or "
                    "infinite values; all must be finite. Check the backbone's precision and "
                    "weights."
                )
            yield [level.detach().float() for level in levels]
        if not images:
            raise self.method.no_images()
