"""The size that images are scored at, where it is to keep their proportions."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from adpt.data.images import upright_size
from adpt.errors import BadImageError, UserError
from adpt.windows import WindowOptions

log = logging.getLogger(__name__)

AUTO = "auto"
_SHORTER, _LONGEST = 224, 5
_ALIKE = 1.1


def settled_size(
    image_size: int | str | Sequence[int],
    resize: int | Sequence[int] | None,
    paths: Sequence[Path],
    multiple: Callable[[], int],
    windows: WindowOptions | None = None,
) -> int | Sequence[int]:
    """The size that is asked for, which "auto" leaves to the images.

    Args:
        image_size: Pixels of a square, height and width, or "auto".
        resize: Shorter side before a centre crop; None squeezes.
        paths: The good images.
        multiple: Gives that of `proportionate`.
        windows: What images are seen through; None for whole ones.

    Raises:
        UserError: It is other text, or "auto" with `resize`.
    """
    if not isinstance(image_size, str):
        return image_size
    if image_size != AUTO:
        raise UserError(f"image_size={image_size!r} is neither pixels nor 'auto'.")
    if resize is not None:
        raise UserError("image_size=auto squeezes no picture: leave resize out.")
    return proportionate(paths, multiple(), 2 * max(windows.size) if windows else _SHORTER)


def proportionate(paths: Sequence[Path], multiple: int, shorter: int = _SHORTER) -> list[int]:
    """Height and width with the proportions of images; their median where these differ.

    Args:
        paths: Image files; those that cannot be read are passed over.
        multiple: Both sides are multiples of it.
        shorter: Pixels of the shorter side, about; the longer one has at most five times as many.
    """
    ratios = []
    for path in paths:
        try:
            if path.is_file():  # A pipe would never end.
                width, height = upright_size(path, "")
                ratios.append(height / width)
        except BadImageError:  # Named where it is read.
            continue
    ratio = median(ratios or [1.0])
    sides = (shorter * max(1.0, ratio), shorter * max(1.0, 1 / ratio))
    longest = _LONGEST * shorter
    chosen = [max(1, round(min(side, longest) / multiple)) * multiple for side in sides]
    log.info("data.image_size=auto: images are scored at [%d, %d] pixels (height, width)", *chosen)
    if max(ratios, default=1) > _ALIKE * min(ratios, default=1):
        log.warning(
            "The good images have different proportions, height by width from %.3g to %.3g: all are"
            " squeezed to that size",
            min(ratios),
            max(ratios),
        )
    return chosen
