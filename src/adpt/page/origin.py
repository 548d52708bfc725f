"""How the results came about: settings, counts, references and commands."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from adpt.page.markup import Markup, join, tag
from adpt.results import Record

_COUNTS = ("train", "test", "anomalous", "skipped")


def section(records: Sequence[Record]) -> Markup:
    """Everything that tells under which conditions the numbers were taken."""
    facts = {
        "Protocol": _distinct(records, _protocol),
        "Backbone": _distinct(records, _backbone),
        "Projector": _distinct(records, _projector),
        "References per class": _distinct(records, _shots),
        "Seeds": [", ".join(str(seed) for seed in sorted({r.seed for r in records}))],
        "Versions": _distinct(records, _versions),
        "Hardware": _distinct(records, _noted("hardware")),
        "Commit": _distinct(records, _noted("commit")),
        "Config SHA-256": _distinct(records, _noted("config_sha256")),
        "Created": [_period(records)],
    }
    rows = [
        tag("tr", tag("th", name, scope="row"), tag("td", *(tag("div", v) for v in values)))
        for name, values in facts.items()
        if any(values)
    ]
    commands = _distinct(records, _noted("command"))
    return tag(
        "section",
        tag("h2", "How these results were made"),
        tag("div", tag("table", *rows, class_="facts"), class_="scroll", tabindex=0),
        *([tag("h3", "Commands"), tag("pre", "\n".join(commands))] if commands else []),
        tag("h3", "Images"),
        _counts(records),
        _references(records),
    )


def _counts(records: Sequence[Record]) -> Markup:
    classes: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        classes.setdefault((record.dataset, record.class_name), []).append(record)
    head = [tag("th", name, scope="col") for name in ("data set · class", *_COUNTS)]
    rows = [
        tag(
            "tr",
            tag("th", f"{dataset} · {class_name}", scope="row"),
            *(tag("td", _count(group, name)) for name in _COUNTS),
        )
        for (dataset, class_name), group in sorted(classes.items())
    ]
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *rows))
    parts = [tag("div", table, class_="scroll", tabindex=0)]
    if any(_differs(group) for group in classes.values()):
        warning = "Where a cell shows a range, the results of that class are not over equal images."
        parts.append(tag("p", warning, class_="note worse"))
    return join(parts)


def _count(group: Sequence[Record], name: str) -> str:
    found = _numbers(group, name)
    if not found:
        return "–"
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _differs(group: Sequence[Record]) -> bool:
    return any(len(_numbers(group, name)) > 1 for name in _COUNTS)


def _numbers(group: Sequence[Record], name: str) -> list[int]:
    return sorted({record.counts[name] for record in group if name in record.counts})


def _references(records: Sequence[Record]) -> Markup:
    chosen = {
        (r.dataset, r.class_name, r.seed, r.references): None for r in records if r.references
    }
    if not chosen:
        return Markup()
    items = [
        tag("li", tag("b", f"{dataset} · {class_name}, seed {seed}: "), ", ".join(paths))
        for dataset, class_name, seed, paths in chosen
    ]
    return tag("details", tag("summary", "Normal reference images"), tag("ul", *items))


def _distinct(records: Iterable[Record], describe: Callable[[Record], str]) -> list[str]:
    return list(dict.fromkeys(text for text in map(describe, records) if text))


def _noted(name: str) -> Callable[[Record], str]:
    return lambda record: str(record.provenance.get(name) or "")


def _protocol(record: Record) -> str:
    words = {"clean": "nothing chosen on test data", "paper": "the authors' choices on test data"}
    return f"{record.protocol}: {words[record.protocol]}"


def _backbone(record: Record) -> str:
    return _with_hash(record.backbone, record.backbone_sha256)


def _projector(record: Record) -> str:
    return (
        _with_hash(Path(record.projector).name, record.projector_sha256) if record.projector else ""
    )


def _with_hash(name: str, sha256: str | None) -> str:
    return f"{name} (SHA-256 {sha256})" if sha256 else name


def _shots(record: Record) -> str:
    return "" if record.shots is None else str(record.shots)


def _versions(record: Record) -> str:
    versions = record.provenance.get("versions", {})
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _period(records: Iterable[Record]) -> str:
    times = sorted(_distinct(records, _noted("created")))
    if not times:
        return ""
    first, last = (time[:16].replace("T", " ") for time in (times[0], times[-1]))
    return f"{first} UTC" if first == last else f"{first} to {last} UTC"
