"""Records as the tests of tables need them."""

import dataclasses
from typing import Any

from adpt.results import Record

SEVEN = [
    "image_auroc",
    "image_ap",
    "image_f1max",
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1max",
    "pixel_aupro",
]


def a_record(features: str = "own", auroc: float = 0.5, **changes: Any) -> Record:
    """A record of one metric; 8 references and one projector where the features need them."""
    record = Record("visa", "pcb1", "padim", features, "clip_b", {"image_auroc": auroc})
    if features != "own":
        record = dataclasses.replace(record, shots=8)
    if features == "pretrained":
        record = dataclasses.replace(record, projector="p.safetensors", projector_sha256="ab" * 32)
    return dataclasses.replace(record, **changes)


def three(values: tuple[float, float, float], **changes: Any) -> list[Record]:
    """Own, residual and pretrained features of the same class and seed."""
    kinds = ("own", "residual", "pretrained")
    return [a_record(kind, value, **changes) for kind, value in zip(kinds, values, strict=True)]
