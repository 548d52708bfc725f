"""ROC and PR curves and score histograms, from the details beside the records."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adpt.page import svg
from adpt.page.markup import Markup, join, tag
from adpt.page.titles import titles
from adpt.results import Record, Summary
from adpt.results.details import load_details
from adpt.results.record import FEATURES

_POINTS = 200
_MOST_CLASSES = 150
"""With more the page would grow beyond what a browser shows with ease."""

_UNFOLDED = 4

_CURVES = {
    "image_roc": ("ROC, images", "false positive rate", "true positive rate"),
    "image_pr": ("PR, images", "recall", "precision"),
    "pixel_roc": ("ROC, pixels", "false positive rate", "true positive rate"),
    "pixel_pr": ("PR, pixels", "recall", "precision"),
}
_HISTOGRAMS = {"image_histogram": ("image scores", 3), "pixel_histogram": ("pixel scores", 1)}
"""Title, and how many bins are drawn as one: images are few."""
_TAIL = 0.001

_NOTE = (
    "Curves: of several seeds and classes the mean at each false positive rate or recall."
    " Histograms: how often normal and anomalous images or pixels have each score, each scaled to"
    " its highest bin, of the lowest seed; a tail of a thousandth is cut off. Scores of different"
    " kinds of features have different units."
)

Floats = npt.NDArray[np.floating]
Arrays = dict[str, dict[str, Floats]]
"""Kind of features to the arrays of `Details` that are drawn, by their names there."""


def section(summaries: Sequence[Summary], folder: Path) -> Markup:
    """Plots of each summary and its classes; nothing where no details lie in the folder.

    Args:
        summaries: What the page's tables show.
        folder: Holds, at any depth, `details/<file>` as the records name it.

    Raises:
        UserError: Details cannot be read.
    """
    files = {path.name: path for path in sorted(folder.rglob("details/*.npz"))}
    classes = [_by_class(summary, files) for summary in summaries]
    total = sum(map(len, classes))
    if not total:
        return Markup()
    parts = [tag("p", _NOTE, class_="note"), _legend()]
    if total > _MOST_CLASSES:
        text = (
            f"There are {total} results of single classes, too many to draw: means alone are shown."
            " Make a page of fewer results for the rest."
        )
        parts.append(tag("p", text, class_="note"))
    for title, summary, found in zip(titles(summaries), summaries, classes, strict=True):
        if found:
            plots = [tag("p", summary.setting, class_="note"), *_block(found, files, total)]
            # A few are seen at once.
            state = {"open": ""} if total <= _UNFOLDED else {}
            parts.append(tag("details", title, *plots, **state))
    return tag("section", tag("h2", "Curves and score histograms"), *parts)


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


def _by_class(summary: Summary, files: Mapping[str, Path]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in sorted(summary.records, key=lambda record: (record.class_name, record.seed)):
        if record.details and Path(record.details).name in files:
            found.setdefault(record.class_name, []).append(record)
    return found


def _block(
    found: Mapping[str, Sequence[Record]], files: Mapping[str, Path], total: int
) -> list[Markup]:
    classes = {name: _arrays(records, files) for name, records in found.items()}
    if len(classes) == 1:
        return [join([tag("h4", name), _plots(arrays)]) for name, arrays in classes.items()]
    shown = classes if total <= _MOST_CLASSES else {}
    return [
        *_mean(list(classes.values())),
        *(tag("details", tag("summary", name), _plots(shown[name])) for name in shown),
    ]


def _arrays(records: Sequence[Record], files: Mapping[str, Path]) -> Arrays:
    """Of a class: curves averaged over seeds, histograms of the first seed."""
    kinds: dict[str, list[Record]] = {}
    for record in records:
        kinds.setdefault(record.features, []).append(record)
    arrays: Arrays = {}
    for kind in filter(kinds.__contains__, FEATURES):
        # Here and not at once for all classes: the maps in them take memory.
        details = [load_details(files[Path(str(record.details)).name]) for record in kinds[kind]]
        arrays[kind] = {name: mean_curve([getattr(d, name) for d in details]) for name in _CURVES}
        arrays[kind] |= {name: getattr(details[0], name) for name in _HISTOGRAMS}
    return arrays


def _mean(classes: Sequence[Arrays]) -> list[Markup]:
    """Over the classes that have all kinds: others would shift one kind against another."""
    kinds = {kind for arrays in classes for kind in arrays}
    complete = [arrays for arrays in classes if kinds == set(arrays)]
    if not complete:
        return []
    means = {
        kind: {name: mean_curve([arrays[kind][name] for arrays in complete]) for name in _CURVES}
        for kind in FEATURES
        if kind in kinds
    }
    return [tag("h4", f"Mean over {len(complete)} of {len(classes)} classes"), _plots(means)]


def _plots(arrays: Arrays) -> Markup:
    plots = [_curve_plot(name, arrays) for name in _CURVES]
    before_and_after = dict.fromkeys((next(iter(arrays)), list(arrays)[-1]))
    plots += [
        _histogram_plot(f"{title}, {kind}", arrays[kind][name], merged)
        for name, (title, merged) in _HISTOGRAMS.items()
        for kind in before_and_after
        if name in arrays[kind] and arrays[kind][name].size
    ]
    return tag("div", *plots, class_="plots")


def _curve_plot(name: str, arrays: Arrays) -> Markup:
    title, x_label, y_label = _CURVES[name]
    lines = [
        svg.line(of_kind[name], kind) for kind, of_kind in arrays.items() if of_kind[name].size
    ]
    ticks = ("0", "0.5", "1")
    return svg.plot(title, lines, x_label, y_label, ticks, ticks)


def _histogram_plot(title: str, histogram: Floats, merged: int) -> Markup:
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
    return svg.plot(title, areas, "score", "", ticks)


def _short(score: float) -> str:
    return f"{score:.0f}" if 1e3 <= abs(score) < 1e6 else f"{score:.3g}"


def _legend() -> Markup:
    names = [tag("span", kind, class_=f"key {kind}") for kind in FEATURES]
    names += [tag("span", kind, class_=f"key {kind}") for kind in ("normal", "anomalous")]
    return tag("p", *names, class_="legend")
