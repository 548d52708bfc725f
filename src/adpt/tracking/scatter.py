"""A t-SNE layout as a picture."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from adpt.page.plots import Picture

_MARGIN = 8
_RADIUS = 2
_NORMAL, _ANOMALOUS = (63, 124, 184), (211, 63, 42)


def scatter(
    points: npt.NDArray[np.floating], anomalous: npt.NDArray[np.bool_], side: int = 400
) -> Picture:
    """Draw points on white, anomalous ones red and on top of the normal ones, blue.

    Args:
        points: (M, 2); both directions are scaled alike, y upwards.
        anomalous: (M,) bool.
        side: Of the picture, in pixels.

    Returns:
        (side, side, 3), uint8.
    """
    low, high = points.min(0), points.max(0)
    span = max(float((high - low).max()), 1e-12)
    centred = (points - (low + high) / 2) / span * (1, -1)
    places = side / 2 + centred * (side - 2 * _MARGIN)
    picture = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(picture)
    for chosen, colour in ((~anomalous, _NORMAL), (anomalous, _ANOMALOUS)):
        for x, y in places[chosen].tolist():
            draw.ellipse((x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS), fill=colour)
    return np.asarray(picture)
