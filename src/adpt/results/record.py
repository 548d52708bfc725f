"""One record per result."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from adpt.residual import KINDS

FEATURES: tuple[str, ...] = KINDS  # As records on disk have them.
PROTOCOLS = ("clean", "paper")
_NO_OPTIONS = ("adpt", "class", "images")
"""Single words that decide over a result and yet are no options."""


@dataclass(frozen=True)
class Record:
    """The result of one method on one class, with all that is needed to trace it.

    Args:
        dataset: Name of the data set.
        class_name: Name of the class.
        method: Name of the downstream method.
        features: `own` (the backbone's), `residual` or `pretrained` (residual and projected).
        backbone: Name of the backbone.
        metrics: Fractions in [0, 1] by the names of metrics, nan where not defined.
        intervals: Low and high end of 95 % over resamples of the test images, by the metric's name;
            empty where they were not asked for.
        protocol: `clean` (nothing chosen on test data) or `paper` (the authors' choices).
        seed: Seed of the references and of the method.
        shots: Normal reference images per class that were asked for; None for own features.
        references: Their paths, relative to the data set's root where possible.
        projector: Path of the projector's weights, or their name on the hub.
        projector_sha256: Hash of that file.
        backbone_sha256: Fingerprint of the backbone's weights.
        counts: Images: `train`, `test`, `anomalous`, `marked` (anomalous ones in whose masks at the
            scored size a defect is left; absent without masks), `unlabelled` (where the set keeps
            its labels to itself), `skipped`.
        seconds: Duration of `features`, `fit`, `score`.
        costs: Measured where they were asked for: `fit_seconds`; `ms_1` and `ms_32`, milliseconds
            an image in batches of 1 and 32, and of them those of `backbone_`, `features_`
            (residuals and projector) and `method_`; `fit_peak_mb` and `score_peak_mb`, memory
            beyond backbone and features; `size_mb` of the fitted method; `classes` that it is one
            model for.
        provenance: What `adpt.results.provenance` gives.
        setting: What differs from the plain experiment, by the option's name, such as
            `{"train_fraction": 0.1}`, `{"few_shot": True}` or `{"aligned": 10}`; part of what
            tables keep apart. Empty for the plain experiment.
        options: The method's options that differ from its published ones.
        cell: Hash of `decides`; a cell that is recorded need not be computed again.
        decides: All that decides over the result, by name: options, hashes of files and of code.
        epochs: Of trained methods: `trained`, and under protocol `paper` for each metric the epoch
            that it was best at.
        history: Of trained methods, early to late: one mapping for each epoch that was looked at,
            with `epoch`, `loss` and metrics.
        details: Path of the file with scores and curves (see `adpt.results.details`), relative to
            the records' folder; None where there is none.
        instead_of: Options of earlier results that this one stands in place of, in words; of
            records beside each other (see `latest`), and in no file.

    Raises:
        ValueError: For features or a protocol of another name.
    """

    dataset: str
    class_name: str
    method: str
    features: str
    backbone: str
    metrics: dict[str, float]
    protocol: str = "clean"
    seed: int = 0
    shots: int | None = None
    references: tuple[str, ...] = ()
    projector: str | None = None
    projector_sha256: str | None = None
    backbone_sha256: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    setting: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    cell: str | None = None
    decides: dict[str, Any] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    history: tuple[dict[str, float], ...] = ()
    details: str | None = None
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    instead_of: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.features not in FEATURES:
            raise ValueError(f"features is {self.features!r}; accepted are {', '.join(FEATURES)}")
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol is {self.protocol!r}; accepted are {', '.join(PROTOCOLS)}")

    @property
    def shots_used(self) -> int | None:
        """The references that there were: fewer than `shots` where a class has fewer images."""
        return None if self.shots is None else len(self.references) or self.shots


def latest(records: Iterable[Record]) -> list[Record]:
    """Keep the last record of each cell: where a result was taken again, the later one counts.

    A cell is data set, class, method, its options and epochs of training, features, backbone,
    projector, seed, shots, setting and protocol. Where further options differ, the one that is kept
    tells those of the others.
    """
    cells: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        cell = (
            record.dataset,
            record.class_name,
            record.method,
            record.features,
            record.backbone,
            record.projector_sha256,
            record.seed,
            record.shots,
            record.protocol,
            record.epochs.get("trained"),
            json.dumps([record.setting, record.options], sort_keys=True),
        )
        cells.setdefault(cell, []).append(record)
    return [_in_place_of(last, earlier) for *earlier, last in cells.values()]


def _in_place_of(last: Record, earlier: Sequence[Record]) -> Record:
    told = [*last.instead_of, *(_other_options(last, one) for one in earlier)]
    return replace(last, instead_of=tuple(text for text in dict.fromkeys(told) if text))


def _other_options(last: Record, earlier: Record) -> str:
    # What two adpts or two folders of images differ in is no option.
    values = {n: v for n, v in earlier.decides.items() if " " not in n and n not in _NO_OPTIONS}
    return ", ".join(
        f"{name}={json.dumps(value)}".replace('"', "")
        for name, value in values.items()
        if name in last.decides and json.dumps(value) != json.dumps(last.decides[name])
    )
