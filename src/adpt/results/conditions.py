"""The conditions under which results were taken, in words."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from adpt.results.caution import saw_the_images
from adpt.results.record import Record
from adpt.results.words import PROTOCOL_MEANING, distinct, options_in_words, setting_in_words


def facts(records: Sequence[Record]) -> dict[str, list[str]]:
    """Facts about the origin of results: a heading to everything that was found under it.

    Args:
        records: Records of any data sets and methods.
    """
    found = {
        "Protocol": distinct(f"{r.protocol}: {PROTOCOL_MEANING[r.protocol]}" for r in records),
        "Setting": distinct(map(_setting, records)),
        "Backbone": distinct(_with_hash(r.backbone, r.backbone_sha256) for r in records),
        "Projector": distinct(map(_projector, records)),
        "References per class": distinct(
            "" if r.shots_used is None else str(r.shots_used) for r in records
        ),
        "Seeds": [", ".join(str(seed) for seed in sorted({r.seed for r in records}))],
        "Seen in pretraining": distinct(map(_seen, records)),
        "Versions": distinct(map(_versions, records)),
        "Hardware": _noted(records, "hardware"),
        "Commit": _noted(records, "commit"),
        "Config SHA-256": _noted(records, "config_sha256"),
        "Created": distinct([period(records)]),
    }
    return {name: texts for name, texts in found.items() if texts}


def commands(records: Iterable[Record]) -> list[str]:
    """The commands behind results, each once."""
    return _noted(records, "command")


def _noted(records: Iterable[Record], name: str) -> list[str]:
    return distinct(str(record.provenance.get(name) or "") for record in records)


def _setting(record: Record) -> str:
    options = options_in_words({record.features: record.options})
    method = f"{record.method}: {', '.join(options)}" if options else ""
    return "; ".join(filter(None, [*setting_in_words(record.setting), method]))


def _projector(record: Record) -> str:
    if not record.projector:
        return ""
    # Of a name on the hub, which may be a branch's, the commit tells what it stood for.
    commit = record.provenance.get("projector_source", {}).get("commit")
    end = "/".join(Path(record.projector).parts[-3:])
    name = _with_hash(
        f"{record.projector}, commit {commit}," if commit else end, record.projector_sha256
    )
    seed = record.provenance.get("projector_pretraining", {}).get("seed")
    return name if seed is None else f"{name}, pretrained with seed {seed}"


def _with_hash(name: str, sha256: str | None) -> str:
    return f"{name} (SHA-256 {sha256})" if sha256 else name


def _seen(record: Record) -> str:
    if not saw_the_images(record):
        return ""
    projector = (record.projector_sha256 or "")[:8]
    return f"{record.dataset} · {record.class_name}, by projector {projector}"


def _versions(record: Record) -> str:
    versions = record.provenance.get("versions", {})
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def period(records: Iterable[Record]) -> str:
    """When results were made, in words; empty where they do not say."""
    times = sorted(_noted(records, "created"))
    if not times:
        return ""
    first, last = (time[:16].replace("T", " ") for time in (times[0], times[-1]))
    return f"{first} UTC" if first == last else f"{first} to {last} UTC"
