"""The size that images are scored at, where it is to keep their proportions."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from adpt.data.images import upright_size
from adpt.errors import BadImageError, UserError

log = logging.getLogger(__name__)

AUTO = "auto"
_SHORTER, _LONGEST = 224, 1120
_ALIKE = 1.1


def settled_size(
    image_size: int | str | Sequence[int],
    resize: int | Sequence[int] | None,
    paths: Sequence[Path],
    multiple: Callable[[], int],
) -> int | Sequence[int]:
    """The size that is asked for, which "auto" leaves to the images.

    Args:
        image_size: Pixels of a square, height and width, or "auto".
        resize: Shorter side before a centre crop; None squeezes.
        paths: The good images.
        multiple: Gives that of `proportionate`.

    Raises:
        UserError: It is other text, or "auto" with `resize`.
    """
    if not isinstance(image_size, str):
        return image_size
    if image_size != AUTO:
        raise UserError(f"image_size={image_size!r} is neither pixels nor 'auto'.")
    if resize is not None:
        raise UserError("image_size=auto squeezes no picture: leave resize out.")
    return proportionate(paths, multiple())


def proportionate(paths: Sequence[Path], multiple: int) -> list[int]:
    """Height and width with the proportions of images, the shorter side about 224 pixels.

    Of images whose proportions differ the median counts. The longer side is at most 1120 pixels.

    Args:
        paths: Image files; those that cannot be read are passed over.
        multiple: Both sides are multiples of it.
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
    sides = (_SHORTER * max(1.0, ratio), _SHORTER * max(1.0, 1 / ratio))
    chosen = [max(1, round(min(side, _LONGEST) / multiple)) * multiple for side in sides]
    log.info("data.image_size=auto: images are scored at [%d, %d] pixels (height, width)", *chosen)
    if max(ratios, default=1) > _ALIKE * min(ratios, default=1):
        log.warning(
            "The good images have different proportions, height by width from %.3g to %.3g: all are"
            " squeezed to that size",
            min(ratios),
            max(ratios),
        )
    return chosen
