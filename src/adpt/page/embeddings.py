"""t-SNE layouts of patch features, before and after."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adpt.page.svg import Plot, dots
from adpt.results.embedding import Embedding, load_embedding

_MARGIN = 0.03


class ClassEmbeddings(NamedTuple):
    """A class's layouts, and of how many patches they are."""

    title: str
    normal: int
    anomalous: int
    plots: list[Plot]


def section(folders: Sequence[Path]) -> list[ClassEmbeddings]:
    """Layouts by data set and class.

    Args:
        folders: Hold `tsne/<data set>/<class>.npz`.

    Raises:
        UserError: A layout cannot be read.
    """
    return [_class(path) for folder in folders for path in sorted(folder.glob("tsne/*/*.npz"))]


def _class(path: Path) -> ClassEmbeddings:
    embedding = load_embedding(path)
    anomalous = int(embedding.anomalous.sum())
    plots = [_plot(kind, embedding) for kind in embedding.points]
    normal = len(embedding.anomalous) - anomalous
    return ClassEmbeddings(f"{path.parent.name} · {path.stem}", normal, anomalous, plots)


def _plot(kind: str, embedding: Embedding) -> Plot:
    places, anomalous = _within(embedding.points[kind]), embedding.anomalous
    marks = [
        dots(places[chosen].T, name)
        for chosen, name in ((~anomalous, "normal"), (anomalous, "anomalous"))
        if chosen.any()
    ]
    return Plot(kind, marks)


def _within(points: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Points moved and scaled into [0, 1], both directions alike."""
    low, high = points.min(0), points.max(0)
    span = max(float((high - low).max()), 1e-12)
    centred = (points - (low + high) / 2) / span
    placed: npt.NDArray[np.floating] = 0.5 + centred * (1 - 2 * _MARGIN)
    return placed
