"""Tables of own, residual and pretrained features."""

import math
from collections.abc import Iterable, Sequence

from adpt.page.markup import Markup, join, tag
from adpt.results import METRICS, Comparison, Row, Summary, percent, points

_FIRST = ("image_auroc", "pixel_ap", "pixel_aupro")
_KINDS = ("own", "residual", "pretrained")


def overview(summaries: Sequence[Summary]) -> Markup:
    """The mean rows of several summaries, one line each."""
    settings = {summary.setting for summary in summaries}
    shared = tag("p", *settings, class_="note") if len(settings) == 1 else Markup()
    lines = [
        (
            join(
                [
                    f"{summary.dataset} · {summary.method}",
                    tag("small", summary.setting) if len(settings) > 1 else "",
                ]
            ),
            summary.mean,
        )
        for summary in summaries
    ]
    return join([shared, _table("data set · method", lines, [], _shown(summaries, _FIRST))])


def section(summary: Summary) -> Markup:
    """One method on one data set: the first metrics at once, the others to unfold."""
    others = [metric for metric in METRICS if metric not in _FIRST]
    first, others = _shown([summary], _FIRST), _shown([summary], others)
    parts = [
        tag("h3", f"{summary.dataset} · {summary.method}"),
        tag("p", summary.setting, class_="note"),
        _class_table(summary, first),
    ]
    if others:
        title = tag("summary", "Other metrics")
        parts.append(tag("details", title, _class_table(summary, others)))
    short = _short_means(summary, [*first, *others])
    if short:
        parts.append(tag("p", f"The mean is not over all classes: {short}.", class_="note"))
    return tag("section", *parts)


def _class_table(summary: Summary, metrics: Sequence[str]) -> Markup:
    rows = [(tag("span", row.name), row) for row in summary.rows]
    return _table("class", rows, [(tag("span", "mean"), summary.mean)], metrics)


def _table(
    heading: str,
    rows: Sequence[tuple[Markup, Row]],
    foot: Sequence[tuple[Markup, Row]],
    metrics: Sequence[str],
) -> Markup:
    every = [row.metrics[m] for _, row in [*rows, *foot] for m in metrics if m in row.metrics]
    kinds = [k for k in _KINDS if any(not math.isnan(getattr(cell, k)) for cell in every)]
    columns = [*kinds, "difference"] if {"own", "pretrained"} <= set(kinds) else kinds
    top = [tag("th", METRICS[m], colspan=len(columns), scope="colgroup") for m in metrics]
    names = [
        tag("th", column, scope="col", class_=_edge(i))
        for _ in metrics
        for i, column in enumerate(columns)
    ]
    head = tag(
        "thead",
        tag("tr", tag("th", heading, rowspan=2, scope="col"), *top),
        tag("tr", *names),
    )
    body = tag("tbody", *(_line(name, row, metrics, columns) for name, row in rows))
    last = tag("tfoot", *(_line(name, row, metrics, columns) for name, row in foot))
    # A region that scrolls must be reachable by keyboard.
    return tag("div", tag("table", head, body, last), class_="scroll", tabindex=0)


def _line(name: Markup, row: Row, metrics: Sequence[str], columns: Sequence[str]) -> Markup:
    cells = (cell for m in metrics for cell in _cells(row.metrics.get(m), columns))
    return tag("tr", tag("th", name, scope="row"), *cells)


def _cells(comparison: Comparison | None, columns: Sequence[str]) -> Iterable[Markup]:
    if comparison is None:
        comparison = Comparison(math.nan, math.nan, math.nan)
    texts = {kind: percent(getattr(comparison, kind)) for kind in _KINDS}
    values = {kind: float(text) for kind, text in texts.items() if text != percent(math.nan)}
    best = max(values.values()) if len(values) > 1 else math.inf
    for position, column in enumerate(columns):
        if column == "difference":
            text = points(comparison.difference)
            colour = {"+": "better", "−": "worse"}.get(text[0], "")
            yield tag("td", text, class_=f"{_edge(position)} {colour}".strip())
        else:
            bold = values.get(column) == best
            text = tag("b", texts[column]) if bold else texts[column]
            yield tag("td", text, class_=_edge(position))


def _edge(position: int) -> str:
    return "edge" if position == 0 else ""


def _shown(summaries: Sequence[Summary], metrics: Sequence[str]) -> list[str]:
    return [metric for metric in metrics if any(metric in s.mean.metrics for s in summaries)]


def _short_means(summary: Summary, metrics: Sequence[str]) -> str:
    total = len(summary.rows)
    counts = {metric: summary.mean.metrics[metric].classes for metric in metrics}
    return ", ".join(f"{METRICS[m]} {n} of {total}" for m, n in counts.items() if n < total)
