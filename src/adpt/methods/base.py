"""The base of every anomaly detection method: fit on normal features, score others."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar, overload

import torch
from torch import Tensor, nn

from adpt.errors import UserError

T = TypeVar("T")


class Scores(NamedTuple):
    """Anomaly scores of a batch; larger is more anomalous, the range is the method's own.

    Attributes:
        maps: (B, H, W), a score a pixel.
        image: (B,), a score an image.
    """

    maps: Tensor
    image: Tensor

    @classmethod
    def joined(cls, parts: Iterable["Scores"]) -> "Scores":
        """Scores of all images of several batches; at least one."""
        maps, image = zip(*parts, strict=True)
        return cls(torch.cat(maps), torch.cat(image))


class Method(nn.Module, ABC):
    """An anomaly detection method on feature levels.

    What `fit` learns lies in parameters or buffers, so that a fitted method is saved by its
    `state_dict`. The scores of an image depend on that image alone, not on the batch it came in,
    unless the method `looks_at_all` images first.

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).

    Raises:
        ValueError: If a side is not positive or there are more than two.
    """

    def __init__(self, image_size: int | Sequence[int] = 224) -> None:
        super().__init__()
        sides = [image_size] * 2 if isinstance(image_size, int) else list(image_size)
        if len(sides) != 2 or min(sides) < 1:
            raise ValueError(
                f"image_size is {image_size}: give one positive side in pixels, or (height, width)."
            )
        self.image_size = (int(sides[0]), int(sides[1]))

    by_window = True
    """False if one for each window would see what one for all does, or is trained for long."""

    uses_labels = False
    """True if it is trained on images of both kinds, and masks of the anomalous ones."""

    uses_class_token = False
    """True if it is given the backbone's class token, (B, C, 1, 1), as one further level, the last:
    on residual and pretrained features too the backbone's own."""

    looks_at_all = False
    """True if scores are to be relative to all images that are scored: `look_at` them first."""

    def look_at(self, batches: Iterable[list[Tensor]]) -> None:
        """See all images that are going to be scored."""

    @abstractmethod
    def fit(self, batches: Iterable[list[Tensor]]) -> None:
        """Learn what normal features look like.

        Args:
            batches: Batches of normal images' levels, each a list of (B, C, h, w); read once.

        Raises:
            UserError: There is nothing to learn from, or what there is cannot be learned from.
        """

    @abstractmethod
    def score(self, levels: list[Tensor]) -> Scores:
        """Score a batch of images.

        Args:
            levels: One (B, C, h, w) tensor a level, as fitted.

        Returns:
            Maps (B, H, W) of `image_size`, and image scores (B,), on the levels' device.

        Raises:
            UserError: Nothing was learned, or the levels are not of the fitted shapes.
        """

    def left_out_scores(self, batches: Iterable[list[Tensor]]) -> Scores | None:
        """Score the images fitted on, each as if it had not been there, without fitting again.

        Args:
            batches: Those that `fit` was given, of two images at least; read once.

        Returns:
            Scores of all of them, in their order; None where only fitting again can tell.
        """
        return None

    def extend(self, batches: Iterable[list[Tensor]], images: int) -> Scores:
        """Learn further normal images too, without those that were learned from before.

        Args:
            batches: The further images' levels; read once.
            images: How many were learned from before.

        Returns:
            Scores of the further images, each as if it had not been there.

        Raises:
            UserError: The method cannot do that.
        """
        raise UserError(
            f"{type(self).__name__} takes no further images in: fit again, with all of them."
        )

    def check_fitted(self, levels: list[Tensor]) -> None:
        """Make sure that these levels can be scored.

        Raises:
            UserError: They cannot.
        """
        self.check_form(levels)

    def check_form(self, levels: list[Tensor]) -> None:
        """Refuse, with a UserError, what is not one (B, C, h, w) tensor a level."""
        shapes = [tuple(level.shape) for level in levels]
        if not shapes or any(len(shape) != 4 or shape[0] != shapes[0][0] for shape in shapes):
            raise UserError(
                f"{type(self).__name__} was given {shapes or 'no levels'}; it takes one "
                "(B, C, h, w) tensor a level, all of the same B. Pass a backbone's levels as they "
                "are."
            )

    @contextmanager
    def scoring(self, levels: list[Tensor]) -> Iterator[list[Tensor]]:
        """Check levels, and give them in float32, to be scored in `full_precision`."""
        self.check_fitted(levels)
        with full_precision(levels[0].device):
            yield [level.float() for level in levels]


def checked(method: Method, scores: Scores) -> Scores:
    """The scores that a method gave.

    Raises:
        UserError: They are not of the shapes that `Method.score` states.
    """
    found = tuple(scores.maps.shape), tuple(scores.image.shape)
    if found[0][1:] != method.image_size or len(found[1]) != 1:
        made = type(method)
        height, width = method.image_size
        raise UserError(
            f"{made.__module__}.{made.__qualname__}.score gives maps {found[0]} and image scores"
            f" {found[1]}, where its image_size asks for maps (B, {height}, {width}) and image"
            " scores (B,): resize the maps, by adpt.methods.maps.upsample for instance."
        )
    return scores


def tells_left_out(made: type[Method]) -> bool:
    """True if a class's `left_out_scores` holds for all else that it does.

    Not if it inherits that, and fits or scores in a way of its own.
    """
    parts = {"left_out_scores", "fit", "learn", "score", "embed"}
    first = next(part for part in made.__mro__ if parts & vars(part).keys())
    return "left_out_scores" in vars(first)


@overload
def try_making(option: str, make: Callable[[], Any]) -> Method: ...
@overload
def try_making(option: str, make: Callable[[], Any], base: Callable[..., T]) -> T: ...
def try_making(option: str, make: Callable[[], Any], base: Any = Method) -> Any:
    """Make a method, or another part, so that a wrong option is told before anything is encoded.

    Args:
        option: What to call it in a message.
        make: What makes it; torch's random numbers are as before after it.
        base: The class that it must be of.

    Raises:
        UserError: It refuses its options, or is of another class.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            made = make()
    except (TypeError, ValueError) as error:
        raise UserError(f"{option}: {error}") from error
    if not isinstance(made, base):
        room = ".".join(base.__module__.split(".")[:2])
        raise UserError(f"{option}: {type(made).__name__} is no {room}.{base.__name__}.")
    return made


def at_least_one(**counts: int | None) -> None:
    """Refuse, with a ValueError that names them, arguments below 1; None is none of them."""
    _check("at least 1", {name: n for name, n in counts.items() if n is not None and not n >= 1})


def above_zero(**numbers: float) -> None:
    """Refuse arguments that are not above 0, likewise."""
    _check("above 0", {name: number for name, number in numbers.items() if not number > 0})


def _check(wanted: str, wrong: dict[str, float]) -> None:
    if wrong:
        told = " and ".join(f"{name} is {number}" for name, number in wrong.items())
        raise ValueError(f"{told}: {'it' if len(wrong) == 1 else 'each'} must be {wanted}.")


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute in float32 as written: no autocast, no TF32, no gradients, no inference tensors.

    Distances are small differences of large numbers, so the reduced precision that suits training
    would drown them. Inference tensors are avoided because a buffer made of one cannot be loaded
    into later. The former settings return on leaving.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
