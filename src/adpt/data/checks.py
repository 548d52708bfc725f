"""Checks of what a set lists: masks for defects, masks of the right size, bits in use."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from adpt.data.images import depth_in_use, read_image, upright_size
from adpt.data.sample import Sample
from adpt.errors import BadImageError, DataError


def files_of(samples: Iterable[Sample]) -> list[Path]:
    """The images of samples, and their masks."""
    return [path for s in samples for path in (s.image, *s.masks)]


def require_masks(samples: Sequence[Sample], expected: str) -> None:
    """Check that every defective image of a class has a mask; a message tells the tree expected.

    Raises:
        DataError: Masks are missing; the message counts them and names the first such image.
    """
    missing = [sample for sample in samples if sample.unmarked]
    if missing:
        raise DataError(
            f"{len(missing)} defective images of class '{missing[0].class_name}' have no mask, the"
            f" first: {missing[0].image}. Add them, or measure without masks, image metrics alone:"
            f" data.masks=none. Expected:\n{expected}"
        )


def check_mask_sizes(samples: Sequence[Sample]) -> None:
    """Check that every mask has its image's size, without decoding what need not be.

    Raises:
        DataError: Some differ; the message names the first five.
    """
    masked = [sample._replace(mask=mask) for sample in samples for mask in sample.masks]
    with ThreadPoolExecutor(8) as threads:
        faults = [fault for fault in threads.map(_size_fault, masked) if fault]
    if faults:
        more = f" (and {len(faults) - 5} more like it)" if len(faults) > 5 else ""
        raise DataError("\n".join(faults[:5]) + more)


def deepest_of(samples: Iterable[Sample], max_megapixels: float) -> tuple[int, Path] | None:
    """Bits that a set's 16-bit files use: as many as its normal training images take.

    Args:
        samples: Those of the set.
        max_megapixels: Files whose header claims more are not decoded.

    Returns:
        8 to 16, and the first file that takes so many; None where no normal training image is a
        16-bit file.
    """
    found = None
    normal = {s.image for s in samples if s.split == "train" and s.label == 0}
    # Other formats have 8 bits.
    paths = sorted(path for path in normal if path.suffix.lower() in (".png", ".tif", ".tiff"))
    with ThreadPoolExecutor(8) as threads:
        for start in range(0, len(paths), 64):
            some = paths[start : start + 64]
            depths = threads.map(partial(depth_in_use, max_megapixels=max_megapixels), some)
            for path, bits in zip(some, depths, strict=True):
                if bits is not None and (found is None or bits > found[0]):
                    found = bits, path
            if found is not None and found[0] == 16:
                break
    return found


def _size_fault(sample: Sample) -> str | None:
    try:
        image_size = upright_size(sample.image, sample.class_name)
        mask_size = upright_size(sample.mask or sample.image, sample.class_name)
        if image_size == mask_size[::-1] != mask_size:
            # A header may keep the rotation behind the pixels: read these to be sure.
            image_size = read_image(sample.image, sample.class_name).size
    except BadImageError:
        return None  # Reported, or skipped and counted, when it is read.
    return None if image_size == mask_size else size_message(sample, image_size, mask_size)


def size_message(sample: Sample, image: tuple[int, int], mask: tuple[int, int]) -> str:
    """The message on a mask and an image, (width, height) each, that differ in size."""
    return (
        f"{sample.mask} is {mask[0]}x{mask[1]} pixels, but its image {sample.image} (class"
        f" '{sample.class_name}') is {image[0]}x{image[1]}: image and mask must be of one size."
    )
