"""One record per result."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

FEATURES = ("own", "residual", "pretrained")
PROTOCOLS = ("clean", "paper")


@dataclass(frozen=True)
class Record:
    """The result of one method on one class, with all that is needed to trace it.

    Args:
        dataset: Name of the data set.
        class_name: Name of the class.
        method: Name of the downstream method.
        features: `own` (the backbone's), `residual` or `pretrained` (residual and projected).
        backbone: Name of the backbone.
        metrics: Fractions in [0, 1] by the names of `METRICS`, nan where not defined.
        protocol: `clean` (nothing chosen on test data) or `paper` (the authors' choices).
        seed: Seed of the references and of the method.
        shots: Normal reference images per class; None for own features.
        references: Their paths, relative to the data set's root where possible.
        projector: Path of the projector's weights.
        projector_sha256: Hash of that file.
        backbone_sha256: Fingerprint of the backbone's weights.
        counts: Images: `train`, `test`, `anomalous`, `skipped`.
        seconds: Duration of `features`, `fit`, `score`.
        provenance: What `adpt.results.provenance` gives.

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

    def __post_init__(self) -> None:
        if self.features not in FEATURES:
            raise ValueError(f"features is {self.features!r}; accepted are {', '.join(FEATURES)}")
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol is {self.protocol!r}; accepted are {', '.join(PROTOCOLS)}")


def latest(records: Iterable[Record]) -> list[Record]:
    """Keep the last record of each cell: where a result was taken again, the later one counts.

    A cell is data set, class, method, features, backbone, projector, seed, shots and protocol.
    """
    cells: dict[tuple[object, ...], Record] = {}
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
        )
        cells[cell] = record
    return list(cells.values())
