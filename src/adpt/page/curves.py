"""ROC and PR curves and score histograms, from the details beside the records."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adpt.page import svg
from adpt.results import Summary
from adpt.results.details import load_details
from adpt.results.record import FEATURES

_POINTS = 200
_MOST_CLASSES = 150
"""With more the page would grow beyond what a browser shows with ease."""

_CURVES = {
    "image_roc": ("ROC, images", "false positive rate", "true positive rate"),
    "image_pr": ("PR, images", "recall", "precision"),
    "pixel_roc": ("ROC, pixels", "false positive rate", "true positive rate"),
    "pixel_pr": ("PR, pixels", "recall", "precision"),
}
_HISTOGRAMS = {"image_histogram": ("image scores", 3), "pixel_histogram": ("pixel scores", 1)}
"""Title, and how many bins are shown as one: images are few."""
_TAIL = 0.001

Floats = npt.NDArray[np.floating]
Arrays = dict[str, dict[str, Floats]]
"""Kind of features to the arrays of `Details` that are shown, by their names there."""


class Plots(NamedTuple):
    """Plots under one heading."""

    title: str
    plots: list[svg.Plot]


class SummaryCurves(NamedTuple):
    """A summary's plots: of its mean or its only class, and of the classes, folded up."""

    summary: Summary
    first: Plots | None
    classes: list[Plots]


class Curves(NamedTuple):
    """Plots of all summaries.

    Attributes:
        total: Results of single classes.
        crowded: True if those are too many to show.
        results: A summary each.
    """

    total: int
    crowded: bool
    results: list[SummaryCurves]


def section(summaries: Sequence[Summary], folder: Path) -> Curves | None:
    """Plots of each summary and its classes; None where no details lie in the folder.

    Args:
        summaries: What the page's tables show.
        folder: Holds, at any depth, `details/<file>` as the records name it.

    Raises:
        UserError: Details cannot be read.
    """
    files = {path.name: path for path in sorted(folder.rglob("details/*.npz"))}
    classes = [_by_class(summary, files) for summary in summaries]
    total = sum(map(len, classes))
    crowded = total > _MOST_CLASSES
    shown = [
        _shown(summary, found, crowded)
        for summary, found in zip(summaries, classes, strict=True)
        if found
    ]
    return Curves(total, crowded, shown) if total else None


def mean_curve(curves: Sequence[Floats]) -> Floats:
    """Mean of curves at each x.

    Args:
        curves: (2, P) each, ascending in x from 0 to 1; (2, 0) where undefined, which is left out.

    Returns:
        (2, at most 200).
    """
    curves = [curve for curve in curves if curve.shape[1]]
    if not curves:
        return np.zeros((2, 0))
    if len(curves) == 1:
        (curve,) = curves
        return curve[:, np.unique(np.linspace(0, curve.shape[1] - 1, _POINTS).round().astype(int))]
    # Closer at both ends, where ROC and PR curves bend.
    x = (1 - np.cos(np.linspace(0, np.pi, _POINTS - 1))) / 2
    y = np.mean([np.interp(x, *curve) for curve in curves], axis=0)
    start = np.mean([curve[1, 0] for curve in curves])
    return np.stack([np.append(0, x), np.append(start, y)])


def _by_class(summary: Summary, files: Mapping[str, Path]) -> dict[str, dict[str, list[Path]]]:
    """Class to kind of features to the files of details, by seed."""
    found: dict[str, dict[str, list[Path]]] = {}
    for record in sorted(summary.records, key=lambda record: (record.class_name, record.seed)):
        if record.details and (path := files.get(Path(record.details).name)):
            found.setdefault(record.class_name, {}).setdefault(record.features, []).append(path)
    return found


def _shown(
    summary: Summary, found: Mapping[str, Mapping[str, Sequence[Path]]], crowded: bool
) -> SummaryCurves:
    classes = {name: _arrays(kinds) for name, kinds in found.items()}
    if len(classes) == 1:
        ((name, arrays),) = classes.items()
        return SummaryCurves(summary, Plots(name, _plots(arrays)), [])
    folded = {} if crowded else classes
    each = [Plots(name, _plots(arrays)) for name, arrays in folded.items()]
    return SummaryCurves(summary, _mean(list(classes.values())), each)


def _arrays(kinds: Mapping[str, Sequence[Path]]) -> Arrays:
    """Of a class: curves averaged over seeds, histograms of the first seed."""
    arrays: Arrays = {}
    for kind in filter(kinds.__contains__, FEATURES):
        # Here and not at once for all classes: the maps in them take memory.
        details = [load_details(path) for path in kinds[kind]]
        arrays[kind] = {name: mean_curve([getattr(d, name) for d in details]) for name in _CURVES}
        arrays[kind] |= {name: getattr(details[0], name) for name in _HISTOGRAMS}
    return arrays


def _mean(classes: Sequence[Arrays]) -> Plots | None:
    """Over the classes that have all kinds: others would shift one kind against another."""
    kinds = {kind for arrays in classes for kind in arrays}
    complete = [arrays for arrays in classes if kinds == set(arrays)]
    if not complete:
        return None
    means = {
        kind: {name: mean_curve([arrays[kind][name] for arrays in complete]) for name in _CURVES}
        for kind in FEATURES
        if kind in kinds
    }
    return Plots(f"Mean over {len(complete)} of {len(classes)} classes", _plots(means))


def _plots(arrays: Arrays) -> list[svg.Plot]:
    before_and_after = dict.fromkeys((next(iter(arrays)), list(arrays)[-1]))
    return [_curve_plot(name, arrays) for name in _CURVES] + [
        _histogram_plot(f"{title}, {kind}", arrays[kind][name], merged)
        for name, (title, merged) in _HISTOGRAMS.items()
        for kind in before_and_after
        if name in arrays[kind] and arrays[kind][name].size
    ]


def _curve_plot(name: str, arrays: Arrays) -> svg.Plot:
    title, x_label, y_label = _CURVES[name]
    lines = [
        svg.line(of_kind[name], kind) for kind, of_kind in arrays.items() if of_kind[name].size
    ]
    ticks = ("0", "0.5", "1")
    return svg.Plot(title, lines, x_label, y_label, ticks, ticks)


def _histogram_plot(title: str, histogram: Floats, merged: int) -> svg.Plot:
    edges = histogram[0, ::merged]
    shares = histogram[1:].reshape(2, -1, merged).sum(2)
    width = edges[1] - edges[0]
    # A few extreme scores would squeeze all the others into a corner.
    ends = [np.searchsorted(np.cumsum(share), 1 - _TAIL) + 1 for share in shares if share.any()]
    shown = min(int(max(ends)), len(edges))
    areas = []
    for share, name in zip(shares, ("normal", "anomalous"), strict=True):
        if share.any():
            steps = np.linspace(0, 1, shown + 1).repeat(2)[1:-1]
            areas.append(svg.area(steps, (share[:shown] / share.max()).repeat(2), name))
    ticks = [_short(edge) for edge in (edges[0], edges[0] + shown * width)]
    return svg.Plot(title, areas, "score", "", ticks)


def _short(score: float) -> str:
    return f"{score:.0f}" if 1e3 <= abs(score) < 1e6 else f"{score:.3g}"
