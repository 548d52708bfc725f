"""Groups of records that are averaged, or held against each other."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from adpt.results.record import FEATURES, Record, latest


@dataclass(frozen=True)
class Group:
    """Records of one method on one data set under the same conditions.

    Args:
        shots: References per class behind residual and pretrained features.
        variant: What tells its projectors from those of other groups: a path with `*` where they
            lie in several places, or a hash; None where there is nothing to tell apart.
        records: At most one for each class, seed and kind of features.
    """

    shots: int | None
    variant: str | None
    records: tuple[Record, ...]


def grouped(records: Iterable[Record]) -> list[Group]:
    """Sort records by all that tells experiments apart but classes, kinds of features and seeds.

    Own features depend on no projector and, unless fitted to them alone, on no references: they
    stand in each group of their setting. References chosen for each image change nothing for them
    either: without own features of such a setting, those of the setting without it are taken.

    A method may have options of its own for pretrained features: with these stand the own and the
    residual features whose options they keep, as long as the epochs are the same.

    Projectors are told apart only where a class has several for one seed: else each class (if
    pretraining left it out) and each seed has one of its own, and together they are one experiment.
    Where they must be told apart, projectors stay together that were pretrained alike but for
    seeds and classes, as records note (see `pretraining_of`).

    Args:
        records: Records of any data sets and methods; of one taken twice the later one counts.

    Returns:
        Groups in the order in which their first records come.
    """
    experiments: dict[tuple[str, ...], list[Record]] = {}
    for record in latest(records):
        experiments.setdefault(_experiment(record), []).append(record)
    groups: list[Group] = []
    for members in experiments.values():
        if "aligned" in members[0].setting and not _of(members, "own"):
            plain = _experiment(members[0], without="aligned")
            members = _of(experiments.get(plain, []), "own") + members
        for part in _by_options(members):
            groups += _groups(part)
    return groups


def _experiment(record: Record, without: str | None = None) -> tuple[str, ...]:
    setting = {name: value for name, value in record.setting.items() if name != without}
    return (
        record.dataset,
        record.method,
        record.backbone,
        record.protocol,
        json.dumps(setting, sort_keys=True),
    )


def _by_options(members: Sequence[Record]) -> list[list[Record]]:
    """Records whose options of the method agree, seen from pretrained features first."""
    sets: dict[str, dict[str, list[Record]]] = {features: {} for features in FEATURES}
    for record in members:
        trained = record.epochs.get("trained")
        chosen = record.options | ({} if trained is None else {"epochs": trained})
        options = json.dumps(chosen, sort_keys=True)
        sets[record.features].setdefault(options, []).append(record)
    parts, taken = [], set()
    for features in reversed(FEATURES):
        for options, records in sets[features].items():
            if (features, options) in taken:
                continue
            part = list(records)
            for lower in FEATURES[: FEATURES.index(features)]:
                kept = [o for o in sets[lower] if _keeps(json.loads(options), json.loads(o))]
                if kept:
                    most = max(kept, key=lambda text: len(json.loads(text)))
                    part += sets[lower][most]
                    taken.add((lower, most))
            parts.append(part)
    return parts


def _keeps(options: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    return all(
        name in options and options[name] == value for name, value in others.items()
    ) and others.get("epochs") == options.get("epochs")


def _groups(members: Sequence[Record]) -> Iterable[Group]:
    own, residual, pretrained = (_of(members, features) for features in FEATURES)
    shots = dict.fromkeys(record.shots for record in [*pretrained, *residual])
    shots |= dict.fromkeys(record.shots for record in own if record.shots is not None)
    for number in shots or {None: None}:
        others = [r for r in own if r.shots in (None, number)]
        others += [r for r in residual if r.shots == number]
        projected = [r for r in pretrained if r.shots == number]
        for variant, chosen in _by_projector(projected).items():
            yield Group(number, variant, (*_of_same_seeds(others, chosen), *chosen))


def _by_projector(records: list[Record]) -> dict[str | None, list[Record]]:
    """The fewest groups in which no class has two projectors for one seed, by their variants."""
    keys: list[Callable[[Record], str | None]] = [
        lambda _: None,
        _pretraining,
        lambda record: record.projector_sha256,
    ]
    possible = []
    for key in keys:
        groups: dict[str | None, list[Record]] = {}
        for record in records:
            groups.setdefault(key(record), []).append(record)
        if all(map(_one_each, groups.values())):
            possible.append((key, groups))
    key, groups = min(possible, key=lambda pair: len(pair[1]))
    if key is not _pretraining:
        return groups or {None: []}
    places = dict(zip(map(_place, groups.values()), groups.values(), strict=True))
    # Of two pretrainings that left their projectors at one place, only the hashes tell.
    return places if len(places) == len(groups) else groups


def _pretraining(record: Record) -> str | None:
    """The mark that projectors of one experiment share: their options but for seeds and classes."""
    noted: dict[str, str] = record.provenance.get("projector_pretraining", {})
    return noted.get("options", record.projector)


def _place(records: Sequence[Record]) -> str | None:
    """The path of a group's projectors, with `*` for each part in which several differ."""
    paths = [PurePath(record.projector or "").parts for record in records]
    parts = (found[0] if len(set(found)) == 1 else "*" for found in zip(*paths, strict=False))
    return str(PurePath(*parts))


def _one_each(records: list[Record]) -> bool:
    return len({(record.class_name, record.seed) for record in records}) == len(records)


def _of_same_seeds(others: Sequence[Record], chosen: Sequence[Record]) -> list[Record]:
    """Of each class and kind the seeds that pretrained features have, or all if it has none."""
    seeds = defaultdict(set)
    for record in chosen:
        seeds[record.class_name].add(record.seed)
    shared = {(r.class_name, r.features) for r in others if r.seed in seeds[r.class_name]}
    return [
        record
        for record in others
        if record.seed in seeds[record.class_name]
        or (record.class_name, record.features) not in shared
    ]


def _of(records: Iterable[Record], features: str) -> list[Record]:
    return [record for record in records if record.features == features]
