"""All that decides over the result of each cell, as a hash."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from adpt.backbones import Backbone
from adpt.cli.values import leaves
from adpt.data import AnomalyDataModule, Mixed, Sample
from adpt.data.checks import files_of
from adpt.evaluation.cells import Cell, MethodSpec, Setting
from adpt.residual import Kind
from adpt.running.contents import content_of_folder, contents
from adpt.running.progress import Progress, no_progress
from adpt.running.sources import own_code, source_of, targets
from adpt.version import __version__

CANNOT_DECIDE = frozenset({
    # Where things lie: images and weights are known by their content.
    "data_dir", "data.root", "backbone.weights", "output_dir", "recorded",
    # What a run is called, and where its figures go besides.
    "run_name", "title", "logger",
    # Where to compute, and what is held where. Not so `data.batch_size`: features of other batches
    # differ by rounding, which training may make more of.
    "device", "memory_gb", "cache", "data.num_workers",
    # What is rendered and measured beside the figures.
    "heatmaps", "tsne", "submission", "costs",
    # Which cells there are; a cell's own class, method and kind of features are told beside.
    "data.classes", "features", "method",
    # Known by its tensors, for the cells that it has a part in.
    "projector",
    # Of pretraining alone.
    "data.held_out", "data.pretrain_splits", "data.synthetic_defects",
})  # fmt: skip
"""Options of an evaluation that cannot change a cell's result; a name covers all below it.

Whatever else the config holds decides, and so does what a user adds to it.
"""

_OF_REFERENCES = {"shots", "aligned", "reference_lists", "published.self_match",
                  "published.reference_resize"}  # fmt: skip
_OF_A_PART = re.compile(r"^(train_data|data(?=\.sets))\.(sets\.[^.]+\.)?")
"""The set to fit on, or one set of a mixed one: their options are called as those of a set."""


class Identity:
    """Tells the cells of one set and one backbone apart, by all that decides over their results.

    That is the whole config but for `CANNOT_DECIDE`, the content of every image and mask with
    labels and splits, that of every other file that the set or the config names, backbone and
    projector as they came out, adpt's code, and the source of every class from outside it.

    Args:
        config: The resolved config, as plain values.
        data: The set, set up.
        backbone: The backbone.
        projector_sha256: Fingerprint of the projector, None where there is none.
        methods: By name.
        setting: What the experiment fixes.
        training: The set that methods are fitted on where it is another one, set up.
        progress: Told how many files are read.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        data: AnomalyDataModule,
        backbone: Backbone,
        projector_sha256: str | None,
        methods: Mapping[str, MethodSpec],
        setting: Setting,
        training: AnomalyDataModule | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self.data, self.training, self.projector_sha256 = data, training, projector_sha256
        self.methods, self.setting, self.progress = methods, setting, progress
        decisive = {k: v for k, v in config.items() if not _is_named(k, CANNOT_DECIDE)}
        self.options = {n: v for n, v in leaves(decisive) if not _is_named(n, CANNOT_DECIDE)}
        # Without intervals a result is as it was before there were any.
        if not self.options.get("intervals"):
            self.options.pop("intervals", None)
        decided = backbone.decides()
        self.shared: dict[str, Any] = {
            "adpt": __version__,
            "adpt's code": own_code(),
            "set": data.set_name,
            "protocol": setting.protocol,
            **{f"the backbone's {name}": value for name, value in leaves(decided)},
            # What the files of all classes in use decide together, such as the bits in use.
            **{f"the pictures' {name}": value for name, value in leaves(data.geometry.decides())},
        }
        # What a backbone from outside takes from its files need not lie in its tensors.
        own_backbone = decided.get("source", source_of(type(backbone))) is not None
        read = {*self.options, *(["backbone.weights"] if own_backbone else [])}
        # Each part of the config with what it names: sources of classes, contents of files.
        self.named = {
            key: _sources(value) | _files({n: v for n, v in leaves(value, key) if n in read})
            for key, value in decisive.items()
        }
        self._of_method: dict[tuple[str, Kind], dict[str, Any]] = {}
        self._images: dict[str | None, str] = {}
        if training:
            rules = leaves(training.geometry.decides())
            self.shared |= {f"the pictures' {name} in training": value for name, value in rules}
            self.shared["images in training"] = self._content(training, training.samples)

    def cells(self, kinds: Sequence[Kind]) -> list[Cell]:
        """All cells of some kinds of features, class by class."""
        return [
            self.cell(name, method, kind)
            for name in self.data.classes
            for kind in kinds
            for method in self.methods
        ]

    def of_features(self, part: str = "data") -> dict[str, Any]:
        """All that decides over features of a set and shows neither in backbone nor in geometry.

        A function that makes a backbone may have options that the backbone does not tell, and a set
        from outside adpt may read its files in a way of its own.
        """
        data = self.data if part == "data" else self.training
        parts = ["backbone"] if source_of(type(data)) is None else ["backbone", part]
        options = {n: v for n, v in self.options.items() if n.partition(".")[0] in parts}
        return {**options, **{n: v for part in parts for n, v in self.named.get(part, {}).items()}}

    def differences(self) -> dict[str, Any]:
        """All that differs from the plain experiment, for `Record.setting`."""
        size = self.data.geometry.image_size
        found: dict[str, Any] = {
            "trained_on": self.training and _in_words(self.training),
            "few_shot": self.setting.few_shot,
            "train_fraction": self.data.train_fraction if self.data.train_fraction < 1 else None,
            "noise_ratio": self.data.noise_ratio,
            "masks": self.data.masks if self.data.masks != "required" else None,
            "image_size": None if size == (224, 224) else list(size),
            "windows": self.options.get("windows.size"),
            "aligned_windows": self.options.get("windows.aligned"),
            "picture_resolution": self.options.get("metric_resolution") == "picture",
        }
        masks = self.data.geometry.mask_resize
        if self.setting.as_published:
            found["as_published"] = True
        else:
            found |= {
                "aligned": self.setting.aligned,
                "listed_references": self.setting.lists is not None,
                "self_match": self.setting.published.self_match,
                "reference_resize": self.setting.published.reference_resize,
                "dilated_overlap": self.setting.published.dilated_overlap,
                "resize": self.data.geometry.resize,
                "mask_resize": None if masks == "nearest" else masks,
            }
        return {name: value for name, value in found.items() if value}

    def cell(self, class_name: str, method: str, kind: Kind) -> Cell:
        """A cell with all that decides over it."""
        seen = None if self.methods[method].unified and not self.training else class_name
        if (method, kind) not in self._of_method:
            self._of_method[method, kind] = self._decides(method, kind)
        decides = {
            **self._of_method[method, kind],
            "class": class_name,
            "images": self._images_sha256(seen),
        }
        text = json.dumps(decides, sort_keys=True, default=str)
        return Cell(class_name, method, kind, hashlib.sha256(text.encode()).hexdigest(), decides)

    def _decides(self, method: str, kind: Kind) -> dict[str, Any]:
        """All that decides over the cells of a method and a kind alike."""
        spec = self.methods[method]
        own = dict(leaves(spec.options[kind], f"method.{method}"))
        without = self._without(spec, kind)
        named = [v for key, v in self.named.items() if not _is_named(key, without)]
        return {
            **self.shared,
            **{n: v for n, v in self.options.items() if not _is_named(n, without)},
            **{name: value for part in named for name, value in part.items()},
            **own,
            **_sources(spec.options[kind]),
            **_files(own),
            "method": method,
            "features": kind,
            "projector": self.projector_sha256 if kind == "pretrained" else None,
            **({"class token": True} if spec.uses_class_token else {}),
        }

    def _without(self, spec: MethodSpec, kind: Kind) -> set[str]:
        """Options without a part in the cells of this method and kind."""
        return {
            *(_OF_REFERENCES if not self.setting.with_references(kind) else ()),
            *(["defects"] if not spec.uses_defects else ()),
            *(["checks"] if self.setting.protocol != "paper" else ()),
        }

    def _images_sha256(self, class_name: str | None) -> str:
        """Hash of a class's files, labels and splits, or of all classes'."""
        if class_name not in self._images:
            samples = [s for s in self.data.samples if class_name in (None, s.class_name)]
            self._images[class_name] = self._content(self.data, samples)
        return self._images[class_name]

    def _content(self, data: AnomalyDataModule, samples: Sequence[Sample]) -> str:
        """Hash of the files, labels and splits of some of a set's images."""
        known = contents(files_of(samples), self.progress)
        parts = data.sets.values() if isinstance(data, Mixed) else [data]
        roots = [part.root for part in parts]
        digest = hashlib.sha256()
        for sample in samples:
            told = [
                _below(roots, sample.image),
                known[sample.image],
                [known[mask] for mask in sample.masks],
                *sample[1:4],
                *sample[5:-1],
            ]
            digest.update(json.dumps(told).encode())
        for name in dict.fromkeys(sample.class_name for sample in samples):
            for file in data.deciding_files(name):
                digest.update(json.dumps([_below(roots, file), _content(file)]).encode())
        return digest.hexdigest()


def _is_named(name: str, names: frozenset[str] | set[str]) -> bool:
    return not names.isdisjoint(_above(name))


@lru_cache(maxsize=4096)
def _above(name: str) -> tuple[str, ...]:
    """An option and all that it lies in."""
    parts = _OF_A_PART.sub("data.", f"{name}.").strip(".").split(".")
    return tuple(".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _in_words(data: AnomalyDataModule) -> str:
    """A set by its name, and those of its classes where the name does not tell which they are."""
    told = data.known_classes and data.wanted_classes is None
    return data.set_name if told else f"{data.set_name} ({', '.join(data.classes)})"


def _below(roots: Sequence[Path], path: Path) -> str:
    """A path relative to the root that it lies in."""
    root = next((root for root in roots if path.is_relative_to(root)), None)
    return (path.relative_to(root) if root else path).as_posix()


def _sources(config: Any) -> dict[str, str | None]:
    """The source of each class from outside adpt that a config names."""
    found = {f"source of {name}": source_of(name) for name in targets(config)}
    return {name: digest for name, digest in found.items() if digest}


def _files(options: Mapping[str, Any]) -> dict[str, str | None]:
    """The content of each file and folder that an option names, alone or in a list."""
    found: dict[str, str | None] = {}
    for name, value in options.items():
        if name.rpartition(".")[2] in ("name", "_target_"):
            continue
        contents_of = {text: _content(Path(text).expanduser()) for text in _texts(value)}
        named = {text: content for text, content in contents_of.items() if content != _NO_FILE}
        if isinstance(value, str):
            found |= {f"content of {name}": content for content in named.values()}
        else:
            found |= {f"content of {name} ({text})": content for text, content in named.items()}
    return found


_NO_FILE = "no file"


def _content(path: Path) -> str | None:
    """Hash of a file or folder, None of one that cannot be read; `_NO_FILE` where there is none."""
    try:
        if path.is_file():
            return contents([path])[path]
        return content_of_folder(path) if path.is_dir() else _NO_FILE
    except OSError:  # No path at all, such as a text that is too long for one.
        return _NO_FILE


def _texts(value: Any) -> Iterator[str]:
    """The texts in an option's value, at any depth."""
    if isinstance(value, str) and value:
        yield value
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _texts(one) if name not in ("name", "_target_") else ()
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for one in value:
            yield from _texts(one)
