"""t-SNE layouts of patch features, before and after."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adpt.page import svg
from adpt.page.markup import Markup, join, tag
from adpt.results.embedding import Embedding, load_embedding

_NOTE = (
    "Patches of test images laid out by t-SNE: those with alike features lie near each other."
    " Distances between clusters, their size and the axes mean nothing, and layouts of different"
    " kinds of features are not comparable point by point."
)
_MARGIN = 0.03


def section(folders: Sequence[Path]) -> Markup:
    """The layouts by data set and class; nothing where there are none.

    Args:
        folders: Hold `tsne/<data set>/<class>.npz`.

    Raises:
        UserError: A layout cannot be read.
    """
    paths = [path for folder in folders for path in sorted(folder.glob("tsne/*/*.npz"))]
    if not paths:
        return Markup()
    keys = [tag("span", kind, class_=f"key {kind}") for kind in ("normal", "anomalous")]
    return tag(
        "section",
        tag("h2", "Patch features (t-SNE)"),
        tag("p", _NOTE, class_="note"),
        tag("p", *keys, class_="legend"),
        *map(_class, paths),
    )


def _class(path: Path) -> Markup:
    embedding = load_embedding(path)
    anomalous = int(embedding.anomalous.sum())
    counts = f"{len(embedding.anomalous) - anomalous} normal and {anomalous} anomalous patches."
    plots = [_plot(kind, embedding) for kind in embedding.points]
    return join(
        [
            tag("h4", f"{path.parent.name} · {path.stem}"),
            tag("p", counts, class_="note"),
            tag("div", *plots, class_="plots wide"),
        ]
    )


def _plot(kind: str, embedding: Embedding) -> Markup:
    x, y = _within(embedding.points[kind]).T
    anomalous = embedding.anomalous
    marks = [
        svg.dots(x[chosen], y[chosen], name)
        for chosen, name in ((~anomalous, "normal"), (anomalous, "anomalous"))
        if chosen.any()
    ]
    return svg.plot(kind, marks)


def _within(points: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Points moved and scaled into [0, 1], both directions alike."""
    low, high = points.min(0), points.max(0)
    span = max(float((high - low).max()), 1e-12)
    centred = (points - (low + high) / 2) / span
    placed: npt.NDArray[np.floating] = 0.5 + centred * (1 - 2 * _MARGIN)
    return placed
