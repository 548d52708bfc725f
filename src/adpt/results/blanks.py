"""Reasons why figures are blank: test images lack something that defines a metric."""

from collections.abc import Iterable, Mapping, Sequence

from adpt.results.metric_names import METRICS, NEEDS, title
from adpt.results.record import Record
from adpt.results.words import few_listed, listed


def lacks(counts: Mapping[str, int]) -> list[str]:
    """Reasons why metrics are not defined, or are shifted, without full stops.

    Args:
        counts: Of test images, as in `Record.counts`.
    """
    image, pixel = _reason(counts, "image"), _reason(counts, "pixel")
    if image == pixel:
        found = [f"{image}, so neither image nor pixel metrics are defined"] if image else []
    else:
        reasons = {"image": image, "pixel": pixel}
        found = [f"{why}, so no {of} metric is defined" for of, why in reasons.items() if why]
    return [*found, *_vanished(counts)]


def blanks(records: Iterable[Record], metrics: Sequence[str]) -> list[str]:
    """A sentence for each reason why metrics of some classes are blank, or shifted.

    Args:
        records: Those behind one table.
        metrics: Names of metrics that the table shows.
    """
    records = list(records)
    several = len({record.dataset for record in records}) > 1
    reasons: dict[str, dict[str, dict[str, None]]] = {}
    vanished: dict[str, None] = {}
    for record in records:
        where = f"{record.dataset} {record.class_name}" if several else record.class_name
        for metric in metrics:
            value = record.metrics.get(metric, 0.0)
            if value != value:
                why = _reason(record.counts, metric) or _unknown(metric)
                reasons.setdefault(where, {}).setdefault(why, {})[title(metric)] = None
        if any(metric.startswith("pixel") for metric in metrics):
            vanished |= dict.fromkeys(f"{where}: {text}." for text in _vanished(record.counts))
    classes: dict[tuple[str, str], list[str]] = {}
    for where, found in reasons.items():
        for why, names in found.items():
            classes.setdefault((why, listed(names)), []).append(where)
    blank = [
        f"{few_listed(where)}: {why}, which leaves {n} blank."
        for (why, n), where in classes.items()
    ]
    return [*blank, *vanished]


def _unknown(metric: str) -> str:
    if metric in METRICS:
        return "its test images do not define it"
    return NEEDS.get(metric, "it is not defined there")


def _reason(counts: Mapping[str, int], metric: str) -> str | None:
    """The reason why a metric of images or pixels, by the start of its name, is not defined."""
    if "test" not in counts or "anomalous" not in counts:
        return None
    if counts.get("unlabelled"):
        return "test images without labels"
    if not counts["anomalous"]:
        return "no anomalous test image"
    if metric.startswith("image"):
        return "no normal test image" if counts["anomalous"] == counts["test"] else None
    if "marked" not in counts:
        return "no mask marks the defects"
    return None if counts["marked"] else "no defect is left in its masks at the size that is scored"


def _vanished(counts: Mapping[str, int]) -> list[str]:
    marked, anomalous = counts.get("marked", 0), counts.get("anomalous", 0)
    if not 0 < marked < anomalous:
        return []
    return [
        f"{anomalous - marked} of {anomalous} defects vanish from the masks at the size that is"
        " scored, and count as normal pixels"
    ]
