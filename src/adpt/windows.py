"""Where overlapping windows lie on a picture, and which part of each stands for the whole."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adpt.errors import UserError

Size = tuple[int, int]

OVERLAP = 0.25
"""Share of its side that a window has in common with the next one, unless told otherwise."""
_MOST = 4096


def pair(size: int | Sequence[int], option: str) -> Size:
    """Height and width, of one number or both.

    Raises:
        UserError: They are no positive whole numbers; the message names the option.
    """
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise UserError(
            f"{option} is a positive number of pixels or [height, width], not {size!r}."
        )
    return sides[0], sides[1]


@dataclass(frozen=True)
class WindowOptions:
    """The windows that large images are seen through.

    Attributes:
        size: Height and width in pixels.
        overlap: Share of a window that it has in common with the next one, at least about.
        aligned: True if methods are fitted for each window by itself, where that makes a
            difference.
    """

    size: Size
    overlap: float = OVERLAP
    aligned: bool = False

    @classmethod
    def of(cls, windows: int | Sequence[int] | Mapping[str, Any] | None) -> "WindowOptions | None":
        """The options, from a size or from all of them by name; None of whole images.

        Raises:
            UserError: The size is none.
        """
        options = dict(windows) if isinstance(windows, Mapping) else {"size": windows}
        size = options.pop("size", None)
        if size is None:
            return None
        return cls(pair(size, "windows.size"), **options)

    def backbone(self, spec: Mapping[str, Any], image_size: Any) -> dict[str, Any]:
        """The spec of a backbone, a `_target_` with its arguments, that sees images through them.

        Args:
            spec: That of a backbone that sees whole images.
            image_size: Side of the images in pixels, or (height, width).
        """
        size = list(self.size)
        if spec["_target_"] == "adpt.backbones.build_backbone":
            return {**spec, "image_size": image_size, "windows": size, "overlap": self.overlap}
        return {
            "_target_": "adpt.backbones.WindowedBackbone",
            "backbone": {**spec, "image_size": size} if "image_size" in spec else dict(spec),
            "image_size": image_size,
            "windows": size,
            "overlap": self.overlap,
        }

    def divides(self, method: Any) -> bool:
        """True if a method, a class or what makes one, is to be fitted for each window."""
        return self.aligned and getattr(method, "by_window", True)

    def method(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """The spec of a method that is fitted for each window by itself.

        Args:
            spec: That of a method of whole images.

        Raises:
            UserError: The size of its maps is no option of it.
        """
        if "image_size" not in spec:
            raise UserError(
                f"windows.aligned=true: {spec['_target_']} has no option image_size, by which it is"
                " made for a window. Leave windows.aligned out."
            )
        return {
            "_target_": "adpt.methods.PerWindow",
            "method": {**spec, "image_size": list(self.size), "_partial_": True},
            "image_size": spec["image_size"],
            "overlap": self.overlap,
        }


class Span(NamedTuple):
    """A window along one side of a picture, in pixels.

    Attributes:
        begin: Where the window begins.
        end: Where it ends.
        first: Where the part begins that is taken from it: what is nearer to its middle than to
            that of the windows beside it.
        last: Where that part ends.
    """

    begin: int
    end: int
    first: int
    last: int


def spans(length: int, window: int, overlap: float, multiple: int = 1) -> list[Span]:
    """Windows along a side, evenly spread from end to end.

    Args:
        length: Pixels of the picture's side.
        window: Pixels of a window's.
        overlap: Share of a window that it has in common with the next one, but for rounding.
        multiple: Windows begin, and parts end, at multiples of it; it divides `length` and
            `window`. Their number does not depend on it.
    """
    count = 1 + math.ceil((length - window) / (window * (1 - overlap)) - 1e-9)
    step = (length - window) / max(1, count - 1)
    begins = [round(number * step / multiple) * multiple for number in range(count)]
    cuts = [(one + window + other) // (2 * multiple) * multiple for one, other in pairwise(begins)]
    parts = pairwise([0, *cuts, length])
    return [Span(begin, begin + window, *part) for begin, part in zip(begins, parts, strict=True)]


@dataclass(frozen=True)
class Windows:
    """All windows of a picture, row by row.

    Attributes:
        rows: Down the picture.
        columns: Across.
    """

    rows: list[Span]
    columns: list[Span]

    @classmethod
    def of(cls, picture: Size, window: Size, overlap: float, multiple: int = 1) -> "Windows":
        """Windows on a picture, both (height, width); see `spans`.

        Raises:
            UserError: They are too many.
        """
        sides = zip(picture, window, strict=True)
        rows, columns = (spans(*side, overlap, multiple) for side in sides)
        if (count := len(rows) * len(columns)) > _MOST:
            raise UserError(
                f"windows.size={list(window)} makes {count} windows of a picture, where {_MOST} are"
                " the most: give larger ones."
            )
        return cls(rows, columns)

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def cut(self, whole: Tensor) -> list[Tensor]:
        """Views of the windows on (..., h, w): pixels, or a grid of patches that divides them."""
        down = self.rows[-1].end // whole.shape[-2]
        across = self.columns[-1].end // whole.shape[-1]
        return [
            whole[..., row.begin // down : row.end // down, at.begin // across : at.end // across]
            for row in self.rows
            for at in self.columns
        ]

    def lay(self, windows: Sequence[Tensor]) -> Tensor:
        """The whole (..., h, w), of what each window holds, in the order of `cut`."""
        row, column = self.rows[0], self.columns[0]
        down, across = row.end // windows[0].shape[-2], column.end // windows[0].shape[-1]
        coming = iter(windows)
        return torch.cat(
            [
                torch.cat(
                    [
                        next(coming)[..., _part(row, down), _part(column, across)]
                        for column in self.columns
                    ],
                    dim=-1,
                )
                for row in self.rows
            ],
            dim=-2,
        )


def _part(span: Span, pixels: int) -> slice:
    """The part taken from a window, in the window's own patches of so many pixels."""
    return slice((span.first - span.begin) // pixels, (span.last - span.begin) // pixels)


def check_windows(picture: Size, window: Size, overlap: float, patch: int) -> None:
    """Refuse windows that do not lie on a picture as patches do.

    Args:
        picture: Height and width.
        window: Likewise.
        overlap: See `spans`.
        patch: Pixels on a side of the coarsest level's patch.

    Raises:
        UserError: They do not, or are too many.
    """
    if not 0 <= overlap < 1:
        raise UserError(f"windows.overlap={overlap}: give a share of a window, 0.25 for instance.")
    for option, sides in (("windows.size", window), ("data.image_size", picture)):
        for side in sides:
            below = side // patch * patch
            if side % patch:
                works = " and ".join(str(size) for size in (below, below + patch) if size)
                raise UserError(
                    f"{option}={list(sides)}: windows begin where patches of {patch} px do, so a"
                    f" side of {side} does not work; the nearest that do are {works}."
                )
    if any(side > whole for side, whole in zip(window, picture, strict=True)) or window == picture:
        raise UserError(
            f"windows.size={list(window)} (height, width) does not lie within the picture, which is"
            f" brought to data.image_size={list(picture)}: give a larger one, such as"
            f" data.image_size={[2 * side for side in window]} or auto, or smaller windows."
        )
    if min(window) * (1 - overlap) < patch:
        raise UserError(
            f"windows.overlap={overlap} of windows.size={list(window)} leaves less than a patch of"
            f" {patch} px between windows: give a smaller overlap, or larger windows."
        )
    Windows.of(picture, window, overlap, patch)  # Refuses too many.
