"""Warnings to a reader who holds records against each other."""

import json
from collections.abc import Iterable, Sequence

from adpt.results.record import Record
from adpt.results.words import causes, distinct, few_listed, short_commit

_HASH = 64
"""Digits of a hash, which tells a reader nothing."""
_SAID_ELSEWHERE = (
    "class", "images", "method", "the backbone's fingerprint", "the backbone's versions"
)  # fmt: skip
"""Starts of names: rows of a table, options of methods, weights and versions."""


def cautions(records: Iterable[Record]) -> list[str]:
    """A sentence for each difference in origin, and for products that a projector has seen.

    Args:
        records: Those behind one table.
    """
    records = list(records)
    found = []
    options = _options(records)
    # A backbone's hash covers its options.
    of_options = any(name.startswith("backbone.") for name in options)
    for noun, texts in (
        ("commits", distinct(short_commit(r.provenance.get("commit")) for r in records)),
        ("versions", _versions(records)),
        ("hardware", distinct(str(r.provenance.get("hardware") or "") for r in records)),
        ("weights of the same backbone", [] if of_options else _weights(records)),
    ):
        if len(texts) > 1:
            found.append(f"These results come from different {noun}: {few_listed(texts)}.")
    for name in causes(options):
        values = options[name]
        told = f": {few_listed(values)}" if all(len(value) < _HASH for value in values) else ""
        found.append(f"Results that stand side by side here differ in {name}{told}.")
    if replaced := distinct(text for record in records for text in record.instead_of):
        found.append(f"Earlier results are not shown, of {few_listed(replaced)}.")
    if seen := distinct(f"{r.dataset} {r.class_name}" for r in records if saw_the_images(r)):
        found.append(
            "The projector was trained on images that are evaluated here, of "
            f"{few_listed(seen)}: pretrained figures say nothing of products it has not seen."
        )
    return found


def saw_the_images(record: Record) -> bool:
    """True if the projector behind a record was trained on the images that were evaluated."""
    return record.features == "pretrained" and bool(
        record.provenance.get("projector_saw_the_images")
    )


def _versions(records: Sequence[Record]) -> list[str]:
    """The versions of the packages that differ, such as `torch 2.6`, `torch 2.7`."""
    noted = [r.provenance["versions"] for r in records if r.provenance.get("versions")]
    packages = distinct(package for versions in noted for package in versions)
    found = []
    for package in packages:
        different = distinct(str(versions.get(package) or "none") for versions in noted)
        if len(different) > 1:
            found += [f"{package} {version}" for version in different]
    return found


def _weights(records: Iterable[Record]) -> list[str]:
    """The hashes of backbones that were evaluated with several weights."""
    hashes: dict[str, dict[str, None]] = {}
    for record in records:
        if record.backbone_sha256:
            hashes.setdefault(record.backbone, {})[record.backbone_sha256[:8]] = None
    return [
        f"{backbone} {sha256}"
        for backbone, found in hashes.items()
        for sha256 in found
        if len(found) > 1
    ]


def _options(records: Iterable[Record]) -> dict[str, list[str]]:
    """Options in which results differ that tables do not tell apart, and their values.

    Held against each other are classes and methods of one set, on the same features and so on.
    """
    alike: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        key = (record.dataset, record.features, record.backbone, record.seed, record.shots,
               record.protocol, record.projector_sha256,
               json.dumps(record.setting, sort_keys=True))  # fmt: skip
        alike.setdefault(key, []).append(record)
    found: dict[str, list[str]] = {}
    for group in alike.values():
        for name in dict.fromkeys(name for record in group for name in record.decides):
            values = distinct(str(r.decides[name]) for r in group if name in r.decides)
            if len(values) > 1 and name != "adpt" and not name.startswith(_SAID_ELSEWHERE):
                found[name] = distinct([*found.get(name, []), *values])
    return found
