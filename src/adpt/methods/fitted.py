"""Methods that keep what they learned in buffers whose shapes are known only after fitting."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from adpt.errors import UserError
from adpt.methods.base import Method


class FittedMethod(Method):
    """A method whose knowledge is tensors of any number and shape, saved by `state_dict`.

    A state loads into an instance made with the same arguments, fitted or not. Scoring moves the
    tensors to the device of the levels it is given.

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
    """

    learned: ClassVar[tuple[str, ...]]
    """Names of the learned tensors; one a level bears the level's number: `mean_0`, `mean_1`."""

    def __init__(self, image_size: int | Sequence[int] = 224) -> None:
        super().__init__(image_size)
        self._fitted_shapes: list[tuple[int, ...]] = []

    def read(self, batches: Iterable[list[Tensor]]) -> Iterator[list[Tensor]]:
        """Check training batches as they pass, once through.

        Args:
            batches: Batches of levels, each (B, C, h, w).

        Yields:
            The levels of each batch that holds images, as float32.

        Raises:
            UserError: If there is no image, levels differ between batches, or values are not
                finite.
        """
        shapes: list[tuple[int, ...]] = []
        for levels in batches:
            _check_form(levels)
            found = [tuple(level.shape[1:]) for level in levels]
            shapes = shapes or found
            _check_shapes(found, shapes, "earlier training batches")
            if not len(levels[0]):
                continue
            # NaN and infinity reach the extremes; looking at each value would take a copy.
            if not all(bool(torch.stack(level.aminmax()).isfinite().all()) for level in levels):
                raise UserError(
                    f"{type(self).__name__} was given training features with NaN or infinite "
                    "values; all must be finite. Check the backbone's precision and weights."
                )
            yield [level.detach().float() for level in levels]

    def remember(self, shapes: list[tuple[int, ...]], tensors: Mapping[str, Tensor]) -> None:
        """Replace what was learned before.

        Args:
            shapes: (C, h, w) of each level that scoring will accept.
            tensors: What was learned, by name.
        """
        self._forget()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)
        self.register_buffer("level_shapes", torch.tensor(shapes))
        self._fitted_shapes = shapes

    def check_fitted(self, levels: list[Tensor]) -> None:
        """Make sure that these levels can be scored, and move what was learned to their device.

        Raises:
            UserError: If nothing was learned yet or the levels are not of the fitted shapes.
        """
        if not self._fitted_shapes and "level_shapes" in self._buffers:
            self._fitted_shapes = [
                tuple(shape) for shape in self.get_buffer("level_shapes").tolist()
            ]
        if not self._fitted_shapes:
            raise UserError(
                f"{type(self).__name__} has not learned anything to score against: "
                "call fit with normal features, or load_state_dict with a fitted state, first."
            )
        _check_form(levels)
        found = [tuple(level.shape[1:]) for level in levels]
        _check_shapes(found, self._fitted_shapes, f"fitted {type(self).__name__}")
        self.to(levels[0].device)

    def no_images(self) -> UserError:
        """What to raise when the training batches held no image."""
        return UserError(
            f"{type(self).__name__} was fitted on no images; it needs at least one normal image. "
            "Check that the training split is not empty and that the loader was not used up."
        )

    def _forget(self) -> None:
        for name in [name for name in self._buffers if self._is_learned(name)]:
            delattr(self, name)
        self._fitted_shapes = []

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


def _check_form(levels: list[Tensor]) -> None:
    shapes = [tuple(level.shape) for level in levels]
    if not shapes or any(len(shape) != 4 or shape[0] != shapes[0][0] for shape in shapes):
        raise UserError(
            f"Levels of shapes {shapes} were given; a method takes one (B, C, h, w) tensor a "
            "level, all of the same B. Pass a backbone's levels as they are."
        )


def _check_shapes(
    found: list[tuple[int, ...]], expected: list[tuple[int, ...]], where: str
) -> None:
    if found != expected:
        raise UserError(
            f"Levels of shapes (C, h, w) {found} were given, but the {where} had {expected}. "
            "Use one backbone, one choice of levels and one image size throughout, or fit anew."
        )
