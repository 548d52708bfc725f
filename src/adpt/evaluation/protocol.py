"""The parts of a table under `protocol=paper`, each in the setting its methods are published in."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from adpt.data.reference_lists import ReferenceLists
from adpt.evaluation.cells import MethodSpec
from adpt.running.paths import conf_dir
from adpt.weights import ProjectorFile
from adpt.weights.variants import variant_of

Options = dict[str, Any]
_TO_BE_GIVEN = "???"


@dataclass(frozen=True)
class Part:
    """Methods on classes that share a setting.

    Attributes:
        config: The whole config, with that setting and these methods and classes alone.
        missing: What keeps it from being the published setting; None where it is not asked for.
        published: The options that the setting consists of.
    """

    config: DictConfig
    missing: tuple[str, ...] | None = None
    published: Mapping[str, Any] = field(default_factory=dict)

    def lacking(self, projector: ProjectorFile | None, lists: ReferenceLists | None) -> list[str]:
        """Reasons why results of this part are not those of the published setting."""
        found = list(self.missing or ())
        if projector and not projector.authors:
            found.append("the authors' projector")
        if lists:
            kind = "aligned" if self.config.aligned else "fixed"
            held = lists.aligned if self.config.aligned else lists.fixed
            if absent := [name for name in self.config.data.classes if name not in held]:
                found.append(f"lists of {kind} references of {', '.join(absent)}")
        return found

    def unpublished(self, spec: MethodSpec, name: str) -> MethodSpec:
        """A method whose `changed` leaves out the options of the published setting."""
        changed = {
            kind: {
                option: value
                for option, value in options.items()
                if self.published.get(f"method.{name}.{option}", not value) != value
            }
            for kind, options in spec.changed.items()
        }
        return replace(spec, changed=changed)


def parts_of(config: DictConfig, set_name: str, classes: Sequence[str]) -> list[Part]:
    """A table's parts: the config itself under `clean`, a part a setting under `paper`.

    Args:
        config: Composed.
        set_name: The set that it names.
        classes: Its classes.

    Raises:
        WeightsError: The authors' variant of the projector is not there.
    """
    if config.protocol != "paper":
        return [Part(config)]
    alike: dict[str, tuple[Options, list[str], list[str]]] = {}
    for method in map(str, config.method):
        settings: dict[str, tuple[Options, list[str]]] = {}
        for name in classes:
            options = published_options(set_name, method, name)
            settings.setdefault(_key(options), (options, []))[1].append(name)
        for key, (options, names) in settings.items():
            known = alike.setdefault(f"{key} {names}", ({}, [], names))
            known[0].update(options)
            known[1].append(method)
    return [_part(config, set_name, *found) for found in alike.values()]


def _key(options: Options) -> str:
    """The key that methods share which can be run together."""
    return str(sorted((k, str(v)) for k, v in options.items() if not k.startswith("method.")))


def published_options(set_name: str, method: str, class_name: str) -> Options:
    """The authors' options for a method on a class, as `conf/protocols/paper.yaml` has them."""
    content = _paper()
    found: Options = dict(content["all"])
    found |= content["methods"].get(method) or {}
    found |= (content["sets"].get(set_name) or {}).get(method) or {}
    found |= content["classes"].get(set_name, {}).get(method, {}).get(class_name) or {}
    return found


def _part(
    config: DictConfig, set_name: str, options: Options, methods: list[str], classes: list[str]
) -> Part:
    config = deepcopy(config)
    OmegaConf.set_struct(config, False)
    for other in [str(name) for name in config.method if name not in methods]:
        del config.method[other]
    config.data.classes = classes
    missing = [] if set_name in _paper()["sets"] else [f"data set {set_name}"]
    missing += [f"method {m}" for m in methods if m not in _paper()["methods"]]
    for name, value in options.items():
        found = OmegaConf.select(config, name)
        if name == "projector":
            if found is not None:
                config.projector = variant_of(str(found), value)
        elif value == _TO_BE_GIVEN:
            missing += [name] if found == _default(name) else []
        elif found == _default(name) or name in _asked_for():
            OmegaConf.update(config, name, value, force_add=True)
        elif found != value:
            missing.append(name)
    return Part(config, tuple(missing), options)


def _asked_for() -> set[str]:
    """Options that the user gives for some sets, and the authors fix on others."""
    of_sets = [options for methods in _paper()["sets"].values() for options in methods.values()]
    return {name for options in of_sets for name, v in options.items() if v == _TO_BE_GIVEN}


def _default(name: str) -> Any:
    """An option's value where nobody sets it."""
    room, _, rest = name.partition(".")
    if room == "data":
        return OmegaConf.select(_file("data/base"), rest)
    if room == "method":
        method, _, option = rest.partition(".")
        found = OmegaConf.to_container(_file(f"method/{method}"), resolve=False)
        value = found.get(option) if isinstance(found, dict) else None
        return _file("evaluate").seed if value == "${seed}" else value
    return OmegaConf.select(_file("evaluate"), name)


@cache
def _file(name: str) -> DictConfig:
    content = OmegaConf.load(conf_dir() / f"{name}.yaml")
    assert isinstance(content, DictConfig)  # noqa: S101
    return content


def _paper() -> dict[str, Any]:
    found: Any = OmegaConf.to_container(_file("protocols/paper"))
    return found  # type: ignore[no-any-return]
