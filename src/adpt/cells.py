"""What a table's cells are, and what decides over the result of each."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import adpt
from adpt.backbones import Backbone
from adpt.data import AnomalyDataModule
from adpt.downstream import Kind
from adpt.errors import UserError
from adpt.methods import Method
from adpt.results.record import PROTOCOLS
from adpt.values import is_number


@dataclass(frozen=True)
class MethodSpec:
    """A method that is still to be made, once for each cell.

    Attributes:
        make: Kind of features to what makes the method.
        options: Kind of features to all its options, plain values.
        changed: Kind of features to the options that differ from the published ones.
        unified: Whether one model is made for all classes.
    """

    make: Mapping[Kind, Callable[[], Method]]
    options: Mapping[Kind, dict[str, Any]]
    changed: Mapping[Kind, dict[str, Any]]
    unified: bool = False


@dataclass(frozen=True)
class Setting:
    """What an experiment fixes beside set, backbone and methods.

    Attributes:
        shots: Number of references a class.
        seed: Chooses them.
        few_shot: Whether the references are all the training images there are.
        aligned: Give each image this many nearest training images as references instead.
        protocol: `clean` or `paper`.
        checks: How often trained methods are scored in training.
        memory_gb: Features up to this size are held in memory while training.
        refresh: Share of drawn defects that is drawn anew in every epoch.
        heatmaps: Test images a class and method whose score maps are written as PNG.
        tsne: Classes whose patch features are drawn.

    Raises:
        UserError: Values out of their range; the message names all of them.
    """

    shots: int = 8
    seed: int = 0
    few_shot: bool = False
    aligned: int | None = None
    protocol: str = "clean"
    checks: int = 5
    memory_gb: float = 4.0
    refresh: float = 0.1
    heatmaps: int = 8
    tsne: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = [
            f"{name}={value} must be {accepted}"
            for name, value, accepted, right in (
                ("shots", self.shots, "a whole number, at least 1", _whole(self.shots, 1)),
                ("few_shot", self.few_shot, "true or false", isinstance(self.few_shot, bool)),
                (
                    "aligned",
                    self.aligned,
                    "null or a whole number, at least 1",
                    self.aligned is None or _whole(self.aligned, 1),
                ),
                ("protocol", self.protocol, " or ".join(PROTOCOLS), self.protocol in PROTOCOLS),
                ("checks", self.checks, "a whole number, at least 0", _whole(self.checks, 0)),
                ("heatmaps", self.heatmaps, "a whole number, at least 0", _whole(self.heatmaps, 0)),
                (
                    "memory_gb",
                    self.memory_gb,
                    "a number, at least 0",
                    is_number(self.memory_gb) and self.memory_gb >= 0,
                ),
                (
                    "defects.refresh",
                    self.refresh,
                    "a number in 0 to 1",
                    is_number(self.refresh) and 0 <= self.refresh <= 1,
                ),
            )
            if not right
        ]
        if wrong:
            raise UserError("; ".join(wrong) + ".")


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@dataclass(frozen=True)
class Cell:
    """One result to be had; `sha256` is a hash of all that decides over it."""

    class_name: str
    method: str
    kind: Kind
    sha256: str


class Identity:
    """Tells the cells of one set and one backbone apart, by all that decides over their results.

    Names, sizes and times of change of images and masks decide, with labels and splits, and not
    the options of reading them.

    Args:
        data: The set, set up.
        backbone: The backbone.
        projector_sha256: Hash of the projector's file, None where there is none.
        methods: By name.
        setting: What the experiment fixes.
    """

    def __init__(
        self,
        data: AnomalyDataModule,
        backbone: Backbone,
        projector_sha256: str | None,
        methods: Mapping[str, MethodSpec],
        setting: Setting,
    ) -> None:
        self.data, self.backbone, self.projector_sha256 = data, backbone, projector_sha256
        self.methods, self.setting = methods, setting
        self._images: dict[str | None, str] = {}

    def differences(self) -> dict[str, Any]:
        """What differs from the plain experiment, for `Record.setting`."""
        size = self.data.geometry.image_size
        found: dict[str, Any] = {
            "few_shot": self.setting.few_shot,
            "aligned": self.setting.aligned,
            "train_fraction": self.data.train_fraction if self.data.train_fraction < 1 else None,
            "noise_ratio": self.data.noise_ratio,
            "resize": self.data.geometry.resize,
            "masks": self.data.masks if self.data.masks != "required" else None,
            "image_size": None if size == (224, 224) else list(size),
        }
        return {name: value for name, value in found.items() if value}

    def cell(self, class_name: str, method: str, kind: Kind) -> Cell:
        """A cell with its hash."""
        spec, setting = self.methods[method], self.setting
        seen = None if spec.unified else class_name
        with_references = kind != "own" or setting.few_shot
        parts = {
            "adpt": adpt.__version__,
            "set": self.data.set_name,
            "class": class_name,
            "images": self._images_sha256(seen),
            "backbone": [self.backbone.name, self.backbone.fingerprint],
            "setting": self.differences(),
            "seed": setting.seed,
            "protocol": [setting.protocol, setting.checks if setting.protocol == "paper" else None],
            "kind": kind,
            "method": [method, spec.options[kind]],
            "references": [setting.shots, setting.aligned] if with_references else None,
            "projector": self.projector_sha256 if kind == "pretrained" else None,
        }
        text = json.dumps(parts, sort_keys=True, default=str)
        return Cell(class_name, method, kind, hashlib.sha256(text.encode()).hexdigest())

    def _images_sha256(self, class_name: str | None) -> str:
        """Hash of a class's files, labels and splits, or of all classes'."""
        if class_name not in self._images:
            digest = hashlib.sha256()
            for sample in self.data.samples:
                if class_name in (None, sample.class_name):
                    files = [self._file(path) for path in (sample.image, sample.mask) if path]
                    what = (files, sample.label, sample.split)
                    digest.update(f"{what}".encode())
            self._images[class_name] = digest.hexdigest()
        return self._images[class_name]

    def _file(self, path: Path) -> tuple[str, int, int]:
        """Place below the root, size, and time of the last change; a missing file has neither."""
        place = str(path).removeprefix(str(self.data.root))
        try:
            status = path.stat()
        except OSError:
            return place, 0, 0
        return place, status.st_size, status.st_mtime_ns
