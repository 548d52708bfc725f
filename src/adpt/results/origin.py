"""Under which conditions results were taken, in words."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from adpt.results.caution import saw_the_images
from adpt.results.record import Record
from adpt.results.words import PROTOCOL_MEANING, options_in_words, setting_in_words


def facts(records: Sequence[Record]) -> dict[str, list[str]]:
    """What is known of the origin of results: a heading to everything that was found under it.

    Args:
        records: Records of any data sets and methods.
    """
    found = {
        "Protocol": _distinct(records, _protocol),
        "Setting": _distinct(records, _setting),
        "Backbone": _distinct(records, _backbone),
        "Projector": _distinct(records, _projector),
        "References per class": _distinct(records, _shots),
        "Seeds": [", ".join(str(seed) for seed in sorted({r.seed for r in records}))],
        "Seen in pretraining": _distinct(records, _seen),
        "Versions": _distinct(records, _versions),
        "Hardware": _distinct(records, _noted("hardware")),
        "Commit": _distinct(records, _noted("commit")),
        "Config SHA-256": _distinct(records, _noted("config_sha256")),
        "Created": [_period(records)],
    }
    return {name: texts for name, texts in found.items() if any(texts)}


def commands(records: Iterable[Record]) -> list[str]:
    """The commands behind results, each once."""
    return _distinct(records, _noted("command"))


def _distinct(records: Iterable[Record], describe: Callable[[Record], str]) -> list[str]:
    return list(dict.fromkeys(text for text in map(describe, records) if text))


def _noted(name: str) -> Callable[[Record], str]:
    return lambda record: str(record.provenance.get(name) or "")


def _protocol(record: Record) -> str:
    return f"{record.protocol}: {PROTOCOL_MEANING[record.protocol]}"


def _setting(record: Record) -> str:
    options = options_in_words({record.features: record.options})
    method = f"{record.method}: {', '.join(options)}" if options else ""
    return "; ".join(filter(None, [*setting_in_words(record.setting), method]))


def _backbone(record: Record) -> str:
    return _with_hash(record.backbone, record.backbone_sha256)


def _projector(record: Record) -> str:
    if not record.projector:
        return ""
    # Of a name on the hub, which may be a branch's, the commit tells what it stood for.
    commit = record.provenance.get("projector_source", {}).get("commit")
    name = f"{record.projector}, commit {commit}," if commit else _end(record.projector)
    return _with_hash(name, record.projector_sha256)


def _end(path: str) -> str:
    return "/".join(Path(path).parts[-3:])


def _with_hash(name: str, sha256: str | None) -> str:
    return f"{name} (SHA-256 {sha256})" if sha256 else name


def _shots(record: Record) -> str:
    return "" if record.shots is None else str(record.shots)


def _seen(record: Record) -> str:
    if not saw_the_images(record):
        return ""
    projector = (record.projector_sha256 or "")[:8]
    return f"{record.dataset} · {record.class_name}, by projector {projector}"


def _versions(record: Record) -> str:
    versions = record.provenance.get("versions", {})
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _period(records: Iterable[Record]) -> str:
    times = sorted(_distinct(records, _noted("created")))
    if not times:
        return ""
    first, last = (time[:16].replace("T", " ") for time in (times[0], times[-1]))
    return f"{first} UTC" if first == last else f"{first} to {last} UTC"
