"""Where the product is in a picture: from a mask file, or estimated from the border's colour."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

Mask = NDArray[np.bool_]
Values = NDArray[np.float32]

_SIDE = 128
"""The estimate is made on pictures of at most this side."""
_RING = 0.04
"""Width of the border that shows the background, as a share of the side."""
_AREA = (0.03, 0.95)
"""Share of the picture that a product may cover to count as found."""
_CONTRAST = 3.5
"""How many times further from the background's colour a product lies than the border does (its
upper quartile). Of the real and rendered products looked at, textures reached 2.6 and objects began
at 4.4."""
_RING_COVERED = 0.15
"""Share of the border that a product may touch; more is a bright part of a texture."""
_GROWN = 0.015
"""The silhouette is widened by this share of the side, so that its rim is inside."""


def estimate_foreground(image: Tensor) -> Tensor:
    """Find the product in an image (3, H, W) uint8: (H, W) bool, True on it.

    By its colour against the background that the picture's border shows: a colour that changes
    linearly over the picture, fitted to the border; Otsu's threshold on the distance from it tells
    whether there is a product and where. A picture whose border looks like its inside, as of a
    cloth or of wood, is a product as a whole.
    """
    height, width = image.shape[1:]
    shrink = min(1.0, _SIDE / max(height, width))
    size = [max(1, round(side * shrink)) for side in (height, width)]
    small = F.interpolate(image[None].float(), size=size, mode="bilinear", antialias=True)[0]
    found = _silhouette(small.permute(1, 2, 0).numpy())
    if found is None:
        return torch.ones(height, width, dtype=torch.bool)
    grown = torch.from_numpy(found)[None, None].float()
    return F.interpolate(grown, size=(height, width), mode="nearest")[0, 0] > 0


def _silhouette(picture: Values) -> Mask | None:
    """The product in a picture (h, w, 3); None if it cannot be told from the background."""
    height, width, _ = picture.shape
    side = max(height, width)
    smooth = ndimage.gaussian_filter(picture, (side / 100, side / 100, 0))
    ring = np.ones((height, width), dtype=np.bool_)
    edge = max(1, round(_RING * side))
    ring[edge:-edge, edge:-edge] = False
    distance = np.linalg.norm(smooth - _background(smooth, ring), axis=2)
    threshold = _otsu(distance)
    quiet = float(np.quantile(distance[ring], 0.75))
    clear = distance > threshold
    if not clear.any() or clear[ring].mean() > _RING_COVERED:
        return None
    if np.median(distance[clear]) <= _CONTRAST * quiet:
        return None
    # Otsu's threshold may run between a product's bright and dark parts.
    product = distance > max(threshold / 2, 2 * quiet)
    cross = ndimage.generate_binary_structure(2, 1)
    closed = ndimage.binary_closing(np.pad(product, edge), cross, iterations=2)
    filled = ndimage.binary_fill_holes(closed)[edge:-edge, edge:-edge]
    labels, _ = ndimage.label(ndimage.binary_opening(filled, cross, iterations=2))
    areas = np.bincount(labels.ravel())
    keep = areas >= 0.1 * areas[1:].max(initial=1)
    keep[0] = False
    kept = keep[labels]
    if not _AREA[0] <= kept.mean() <= _AREA[1]:
        return None
    grown = ndimage.binary_dilation(kept, cross, iterations=max(1, round(_GROWN * side)))
    return np.asarray(grown)


def _background(picture: Values, ring: Mask) -> Values:
    """Colour (h, w, 3) that is linear in the position, fitted to those pixels of the ring."""
    height, width, _ = picture.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = np.stack((np.ones_like(x), x, y), axis=-1)
    used = ring
    fitted = np.zeros_like(picture)
    for _ in range(3):  # What the product covers of the ring is left out from the second fit on.
        weights = np.linalg.lstsq(terms[used], picture[used], rcond=None)[0]
        fitted = np.asarray(terms @ weights, dtype=np.float32)
        distance = np.linalg.norm(picture - fitted, axis=2)
        used = ring & (distance <= 2 * np.median(distance[ring]))
    return fitted


def _otsu(values: Values) -> float:
    """The threshold that parts values into two groups of the smallest variance (Otsu, 1979)."""
    counts, edges = np.histogram(values, 256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * centres)
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
        between = np.nan_to_num(below * above * gap**2)
    return float(edges[1:-1][np.argmax(between)])


def mask_files(folder: Path, image: Path) -> Iterator[Path]:
    """Where an image's foreground mask may lie in a folder, the most specific place first.

    The folder may mirror any end of the image's own path (`bottle/train/good/000.png`), or hold
    one folder a class (`bottle/000.png`, as GLASS's published masks do), or the files themselves.
    The mask has the image's name, or the same name with the ending .png, in either Unicode form.
    """
    tails = [Path(*image.parts[-length:]) for length in range(len(image.parts) - 1, 1, -1)]
    classes = [Path(parent.name, image.name) for parent in image.parents if parent.name]
    for place in (*tails, *classes, Path(image.name)):
        for form in ("NFC", "NFD"):
            name = Path(unicodedata.normalize(form, str(place)))
            yield folder / name
            yield folder / name.with_suffix(".png")
