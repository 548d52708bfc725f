"""Published numbers, and where they may stand beside ours."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from adpt.results.caution import cautions
from adpt.results.layout import UNKNOWN, Block, Cell, Column, Figure, Line, Table, gain, values
from adpt.results.summary import METRICS, NOTHING, Summary

_METRICS = ("image_auroc", "pixel_aupro_paper")
"""What the published pairs are of: the authors' AUPRO is their approximation of it."""

_SHOTS = 8
_CLASSES = {"visa": 12, "mvtec": 15, "mpdd": 6}

_CAVEAT = (
    "Published: arXiv 2511.05245, from a published summary of the paper and not from its own"
    " tables; to be checked against the paper before quoting."
)

Pair = tuple[float, float]
"""Image AUROC and AUPRO, in percent or in points."""


@dataclass(frozen=True)
class Published:
    """What the paper reports for one method on one data set, with the 8 references of its tables.

    Args:
        dataset: Name of the data set.
        backbone: Name of the backbone.
        method: Name of the method.
        own: With the backbone's own features; None where it is not known.
        pretrained: With pretrained features; None likewise.
        gain: Pretrained minus own, where only that is known.
        ablation: With features pretrained in other ways, by what was changed.
    """

    dataset: str
    backbone: str
    method: str
    own: Pair | None = None
    pretrained: Pair | None = None
    gain: Pair | None = None
    ablation: Mapping[str, Pair] = field(default_factory=dict)


PUBLISHED = (
    Published("visa", "imagebind", "padim", (92.6, 86.3), (95.4, 88.7)),
    Published(
        "visa",
        "imagebind",
        "patchcore",
        (91.6, 81.3),
        (94.6, 87.0),
        ablation={
            "no residual": (93.6, 85.1),
            "angle loss only": (93.2, 83.8),
            "norm loss only": (90.9, 84.5),
            "trainable backbone": (78.4, 32.1),
        },
    ),
    Published("visa", "imagebind", "feature_norm", (49.2, 44.5), (94.2, 89.0)),
    Published("mvtec", "dinov2_b", "patchcore", gain=(3.5, 4.7)),
    Published("mpdd", "clip_b", "patchcore", gain=(10.1, 28.7)),
    Published("mpdd", "dinov2_l", "padim", gain=(6.8, 3.3)),
    Published("mpdd", "imagebind", "uniad", gain=(32.9, 42.7)),
)


def published_for(summary: Summary) -> Published | None:
    """The published numbers that a summary may be held against; None where there are none.

    Data set with all its classes, backbone, method, references and protocol must be the paper's,
    and nothing else may differ from its plain experiment.
    """
    counts = [summary.mean.metrics[m].classes for m in _METRICS if m in summary.mean.metrics]
    if (
        summary.protocol != "paper"
        or summary.varied
        or summary.budget
        or summary.shots != _SHOTS
        or {len(summary.rows), *counts} != {_CLASSES.get(summary.dataset)}
    ):
        return None
    wanted = (summary.dataset, summary.backbone, summary.method)
    for published in PUBLISHED:
        if wanted == (published.dataset, published.backbone, published.method):
            return published
    return None


def published_table(summaries: Iterable[Summary]) -> Table | None:
    """Ours beside published numbers, for the summaries that may be; None where there are none."""
    pairs = [(summary, published_for(summary)) for summary in summaries]
    agreeing = [(ours, theirs) for ours, theirs in pairs if theirs is not None]
    if not agreeing:
        return None
    shown = " / ".join(METRICS[metric] for metric in _METRICS)
    records = [record for ours, _ in agreeing for record in ours.records]
    return Table(
        "Beside published numbers",
        f"{shown} in percent; paper protocol; {_SHOTS} references per class; all classes.",
        (Column("method"), *(Column(name) for name in ("own", "pretrained", "vs own"))),
        tuple(_block(ours, theirs) for ours, theirs in agreeing),
        (_CAVEAT, *cautions(records)),
    )


def _block(ours: Summary, theirs: Published) -> Block:
    name = f"{ours.dataset} · {ours.backbone} · {ours.method}"
    lines = [_ours(ours), _theirs(theirs)]
    lines += [
        Line(f"published, {change}", ((UNKNOWN,), _percents(pair), (UNKNOWN,)))
        for change, pair in theirs.ablation.items()
    ]
    return Block(name, tuple(lines))


def _ours(summary: Summary) -> Line:
    cells = [summary.mean.metrics.get(metric, NOTHING) for metric in _METRICS]
    figures = [values(cell) for cell in cells]
    own, pretrained = (
        tuple(Figure(f[kind].text) for f in figures) for kind in ("own", "pretrained")
    )
    return Line("ours", (own, pretrained, tuple(gain(cell.difference) for cell in cells)))


def _theirs(published: Published) -> Line:
    own, pretrained, difference = published.own, published.pretrained, published.gain
    if difference is None and own is not None and pretrained is not None:
        difference = (pretrained[0] - own[0], pretrained[1] - own[1])
    return Line("published", (_percents(own), _percents(pretrained), _gains(difference)))


def _percents(pair: Pair | None) -> Cell:
    return tuple(Figure(f"{value:.1f}") for value in pair) if pair else (UNKNOWN,)


def _gains(pair: Pair | None) -> Cell:
    return tuple(gain(value / 100) for value in pair) if pair else (UNKNOWN,)
