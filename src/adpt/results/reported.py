"""Results that others report, and where they may stand beside ours."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from adpt.errors import UserError
from adpt.results.caution import cautions
from adpt.results.metric_names import METRICS, title
from adpt.results.summary import NOTHING, Summary
from adpt.results.table import UNKNOWN, Block, Cell, Column, Figure, Line, Table, gain, values


@dataclass
class Result:
    """Reported figures of one method on one data set; a figure for each metric, None if unknown.

    Args:
        dataset: Name of the data set.
        backbone: Name of the backbone.
        method: Name of the method.
        place: Where it is reported, such as "Table 1".
        own: With the backbone's own features, in percent.
        pretrained: With pretrained features.
        gain: Pretrained minus own in points, where only that is known.
        ablation: With features pretrained in other ways, by what was changed.
    """

    dataset: str
    backbone: str
    method: str
    place: str = ""
    own: list[float] | None = None
    pretrained: list[float] | None = None
    gain: list[float] | None = None
    ablation: dict[str, list[float]] = field(default_factory=dict)


@dataclass
class Reported:
    """Reported results, and the conditions under which ours may be held against them.

    Args:
        note: Where they come from, and what limits them.
        protocol: Ours must be of this protocol,
        setting: in this setting, as of `Record.setting`,
        shots: with so many references per class,
        classes: and on so many classes, by the name of the data set: all of it.
        metrics: Names of metrics that the figures are of.
        results: A method on a data set each.
    """

    note: str
    protocol: str
    setting: dict[str, Any]
    shots: int
    classes: dict[str, int]
    metrics: list[str]
    results: list[Result]

    def of(self, summary: Summary) -> Result | None:
        """The result that a summary may be held against; None where there is none.

        Nothing but the setting may differ from the plain experiment.
        """
        means = summary.mean.metrics
        counts = {means[metric].classes for metric in self.metrics if metric in means}
        if (
            summary.protocol != self.protocol
            or summary.varied != self.setting
            or summary.budget
            or summary.shots != self.shots
            or {len(summary.rows), *counts} != {self.classes.get(summary.dataset)}
        ):
            return None
        wanted = (summary.dataset, summary.backbone, summary.method)
        found = (one for one in self.results if (one.dataset, one.backbone, one.method) == wanted)
        return next(found, None)


def read_reported(path: str | Path) -> Reported:
    """Read a YAML file such as `experiments/main_table/reported.yaml`.

    Raises:
        UserError: It cannot be read, or does not hold what `Reported` says.
    """
    try:
        schema = OmegaConf.structured(Reported)
        read: Any = OmegaConf.to_object(OmegaConf.merge(schema, OmegaConf.load(path)))
        _check(read)
    except (OSError, YAMLError, OmegaConfBaseException, ValueError) as error:
        raise UserError(f"reported={path} holds no reported results: {error}") from error
    assert isinstance(read, Reported)  # noqa: S101
    return read


def reported_table(summaries: Sequence[Summary], reported: Reported | None) -> Table | None:
    """Ours beside reported results, for the summaries that may be; None where there are none."""
    agreeing = [(s, one) for s in summaries if reported and (one := reported.of(s))]
    if not agreeing or not reported:
        return None
    shown = " / ".join(title(metric) for metric in reported.metrics)
    records = [record for ours, _ in agreeing for record in ours.records]
    return Table(
        "Beside published numbers",
        f"{shown} in percent; {reported.protocol} protocol; {reported.shots} references per class;"
        " all classes.",
        (Column("method"), *(Column(name) for name in ("own", "pretrained", "vs own"))),
        tuple(_block(ours, theirs, reported.metrics) for ours, theirs in agreeing),
        (reported.note, *cautions(records)),
    )


def _check(reported: Reported) -> None:
    if unknown := set(reported.metrics) - set(METRICS):
        raise ValueError(f"no metrics of these names: {', '.join(sorted(unknown))}")
    for one in reported.results:
        for figures in (one.own, one.pretrained, one.gain, *one.ablation.values()):
            if figures is not None and len(figures) != len(reported.metrics):
                raise ValueError(f"{figures} are not as many figures as metrics")


def _block(ours: Summary, theirs: Result, metrics: Sequence[str]) -> Block:
    cells = [ours.mean.metrics.get(metric, NOTHING) for metric in metrics]
    own, pretrained = (
        tuple(Figure(values(cell)[kind].text) for cell in cells) for kind in ("own", "pretrained")
    )
    difference = theirs.gain
    if difference is None and theirs.own and theirs.pretrained:
        difference = [p - o for o, p in zip(theirs.own, theirs.pretrained, strict=True)]
    gains = tuple(gain(value / 100) for value in difference or ()) or (UNKNOWN,)
    lines = [
        Line("ours", (own, pretrained, tuple(gain(cell.difference) for cell in cells))),
        Line(
            f"published, {theirs.place}" if theirs.place else "published",
            (_percents(theirs.own), _percents(theirs.pretrained), gains),
        ),
    ]
    if theirs.own and theirs.pretrained:
        apart = (
            tuple(
                gain(getattr(cell, kind) - figure / 100)
                for cell, figure in zip(cells, figures, strict=True)
            )
            for kind, figures in (("own", theirs.own), ("pretrained", theirs.pretrained))
        )
        lines.append(Line("ours − published", (*apart, (UNKNOWN,))))
    lines += [
        Line(f"published, {change}", ((UNKNOWN,), _percents(figures), (UNKNOWN,)))
        for change, figures in theirs.ablation.items()
    ]
    return Block(f"{ours.dataset} · {ours.backbone} · {ours.method}", tuple(lines))


def _percents(figures: Sequence[float] | None) -> Cell:
    return tuple(Figure(f"{value:.1f}") for value in figures or ()) or (UNKNOWN,)
