"""A t-SNE layout as a picture."""

import numpy as np
import numpy.typing as npt

from adpt.page.plots import Picture

_COLOURS = ("#3f7cb8", "#d33f2a")
"""Of normal and of anomalous points."""


def scatter(
    points: npt.NDArray[np.floating], anomalous: npt.NDArray[np.bool_], side: int = 400
) -> Picture:
    """Render points on white, anomalous ones red and on top of the normal ones, blue.

    Args:
        points: (M, 2); both directions are scaled alike, y upwards.
        anomalous: (M,) bool.
        side: Of the picture, in pixels.

    Returns:
        (side, side, 3), uint8.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(side / 100, side / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_aspect("equal", "datalim")
    axes.set_axis_off()
    for chosen, colour in zip((~anomalous, anomalous), _COLOURS, strict=True):
        x, y = points[chosen].T
        axes.scatter(x, y, s=9, c=colour, linewidths=0)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    picture: Picture = pixels[..., :3].copy()
    return picture
