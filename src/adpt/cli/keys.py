"""Keys of a config that nothing reads: told with where they stand, before any work."""

import difflib
import inspect
import os
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from adpt.cli.values import shown
from adpt.errors import UserError
from adpt.running.paths import conf_dir

Place = tuple[str, ...]
"""Where a key stands, from the top down."""

_OF_HYDRA = {"_target_", "_partial_", "_args_", "_recursive_", "_convert_"}
_OF_PARTS = ("method", "logger", "callbacks")
"""Groups that hold parts by name, each with a `_target_` of its own."""
_SHOWN = 12
"""Options of a class that a message lists at most."""


class _Fault(NamedTuple):
    place: Place
    what: str
    instead: frozenset[str] | None = None
    """What may stand at that place; None where the message says enough."""


def check_keys(config: DictConfig, command: str) -> None:
    """Refuse keys that nothing reads, wherever they come from.

    What is read at the top are the keys of the command's own file and its groups. A node with a
    `_target_` has the arguments of that class or function. Of others the command's file tells the
    keys. A key that another one's value refers to is read too.

    Args:
        config: The composed config.
        command: Name of the command's file in `conf`, such as "train"; without one nothing is
            checked.

    Raises:
        UserError: There are such keys, or a `_target_` that cannot be imported; the message names
            all of them.
    """
    file = conf_dir() / f"{command}.yaml"
    if not file.exists():
        return
    faults = _Check(config, file).faults
    if faults:
        raise UserError("\n".join(faults))


def targets_in(folder: Path, group: str) -> dict[str, str]:
    """The parts that the files of a group have, by name: their `_target_`.

    Args:
        folder: A folder of configuration.
        group: A group, such as `method`.
    """
    found: dict[str, str] = {}
    for file in sorted((folder / group).glob("*.yaml")):
        content = _plain(OmegaConf.load(file))
        package = _package(file) or group
        if "_target_" in content:
            found[package.rpartition(".")[2]] = content["_target_"]
        for name, part in content.items():
            if isinstance(part, dict) and isinstance(part.get("_target_"), str):
                found.setdefault(name, part["_target_"])
    return found


def own_folders() -> list[Path]:
    """The folders of configuration that the command line or a file of the user's adds."""
    run = _hydra_run()
    sources = run.runtime.config_sources if run else []
    folders = [Path(source.path) for source in sources if source.schema == "file"]
    return [folder for folder in folders if folder != conf_dir()]


# ---- What a class or function takes -----------------------------------------------------------


def arguments(target: Callable[..., Any]) -> frozenset[str] | None:
    """Names of the arguments of a class or function; None where it takes any.

    A class of adpt that hands further options on to its base takes the base's as well.
    """
    makers: list[Any] = [target]
    if inspect.isclass(target) and target.__module__.startswith("adpt."):
        bases = [base for base in target.__mro__ if base is not object]
        makers = [vars(base)["__init__"] for base in bases if "__init__" in vars(base)] or makers
    found: set[str] = set()
    for maker in makers:
        try:
            parameters = inspect.signature(maker).parameters.values()
        except (TypeError, ValueError):
            return None
        found |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if all(p.kind != p.VAR_KEYWORD for p in parameters):
            return frozenset(found - {"self"})
    return None


# ---- The check --------------------------------------------------------------------------------


class _Check:
    """Walks a config once; `faults` are the messages."""

    def __init__(self, config: DictConfig, file: Path) -> None:
        self.config, self.plain = config, _plain(config)
        self.found: list[_Fault] = []
        self.known: set[Place] = set()
        self.errors: list[str] = []
        run = _hydra_run()
        self.choices = set(run.runtime.choices) if run else set()
        self.read = set(_references({**self.plain, "hydra": _plain(run) if run else {}}))
        own = _plain(OmegaConf.load(file))
        groups = {key for entry in own.pop("defaults", []) for key in _group_keys(entry)}
        own.pop("hydra", None)
        self._plain_node((), self.plain, {**own, **dict.fromkeys(groups)}, groups)
        self.faults = self.errors + self._messages(self.found)

    def _plain_node(
        self, place: Place, node: dict[str, Any], own: dict[str, Any], groups: set[str]
    ) -> None:
        """A node whose keys are those of the command's own file."""
        self.known |= {(*place, name) for name in own}
        for name, value in node.items():
            here = (*place, name)
            if name not in own:
                if not self._is_read(here):
                    self.found.append(_Fault(here, "nothing reads it", frozenset(own)))
            elif name in groups:
                self._group(name, value)
            elif isinstance(value, dict) and isinstance(own[name], dict):
                if "_target_" in own[name]:
                    self._made(here, value)
                else:
                    self._plain_node(here, value, own[name], set())

    def _group(self, name: str, value: Any) -> None:
        if name in _OF_PARTS and isinstance(value, dict):
            if "_target_" in value:
                what = (
                    "its parts have names: the file's first line is to be"
                    f" '# @package {name}.<name>', or the part stands under a name"
                )
                self.found.append(_Fault((name, "_target_"), what))
                return
            for part, options in value.items():
                self._part(name, part, options)
        elif isinstance(value, dict):
            self._made((name,), value)
        elif value is not None and not _refers(value):
            what = (
                f"a group takes a file of its own: {name}={value} on the command line, or"
                f" 'override /{name}: {value}' in the defaults of a file"
            )
            self.found.append(_Fault((name,), what))

    def _part(self, group: str, name: str, options: Any) -> None:
        place = (group, name)
        if options is None or _refers(options):
            return
        if isinstance(options, dict) and "_target_" in options:
            self._made(place, options)
            return
        # Options of a part that is not chosen are left out, and need not be wrong.
        named = {
            k: v for f in (conf_dir(), *own_folders()) for k, v in targets_in(f, group).items()
        }
        if name not in named:
            self.found.append(_Fault(place, "nothing reads it", frozenset(named)))
        elif isinstance(options, dict):
            self._made(place, {"_target_": named[name], **options})
        else:
            self.found.append(_Fault(place, "it is switched off by null"))

    def _made(self, place: Place, node: dict[str, Any]) -> None:
        """A node that something is made of: its keys are arguments."""
        self.known.add(place)
        target = node.get("_target_")
        if target is None:
            if "_target_" in node or not node:
                return
            what = "no _target_ says what is made of it"
            self.found.append(_Fault(place, what))
            return
        if _refers(target):
            target = OmegaConf.select(self.config, ".".join((*place, "_target_")))
        try:
            taken = arguments(pkgutil.resolve_name(target))
        # A module of the user's own may fail in any way.
        except Exception as error:
            self.errors.append(_not_imported(place, target, error))
            return
        if taken is not None:
            self._arguments(place, node, target, taken)
        self._children(place, node)

    def _arguments(
        self, place: Place, node: dict[str, Any], target: str, taken: frozenset[str]
    ) -> None:
        self.known |= {(*place, name) for name in taken}
        what = f"{target} has no such option"
        given = node
        if place[0] == "method" and isinstance(node.get("pretrained"), dict):
            # What replaces the others on pretrained features.
            given = {name: value for name, value in node.items() if name != "pretrained"}
            self._arguments((*place, "pretrained"), node["pretrained"], target, taken)
        self.found += [
            _Fault((*place, name), what, taken)
            for name in given
            if name not in taken and name not in _OF_HYDRA
        ]

    def _children(self, place: Place, node: Any) -> None:
        """What is made within an argument, at any depth."""
        children = node.items() if isinstance(node, dict) else enumerate(node)
        below = [(str(name), value) for name, value in children]
        some_made = any(isinstance(value, dict) and "_target_" in value for _, value in below)
        for name, value in below:
            here = (*place, name)
            if isinstance(value, dict) and "_target_" in value:
                self._made(here, value)
            elif isinstance(value, dict) and value and some_made and "_target_" not in node:
                self.found.append(_Fault(here, "no _target_ says what is made of it"))
            elif isinstance(value, dict | list):
                self._children(here, value)

    def _is_read(self, place: Place) -> bool:
        return any(read[: len(place)] == place or place[: len(read)] == read for read in self.read)

    # ---- Messages ----------------------------------------------------------------------------

    def _messages(self, faults: list[_Fault]) -> list[str]:
        files = _files() if faults else []
        return [self._message(fault, files) for fault in faults]

    def _message(self, fault: _Fault, files: "list[_Source]") -> str:
        place = fault.place
        value: Any = self.plain
        for name in place:
            value = value[int(name)] if isinstance(value, list) else value[name]
        said = "" if isinstance(value, dict) else f"={shown(value)}"
        message = f"{'.'.join(place)}{said}{_where(place, files)}: {fault.what}"
        if fault.instead is None:
            return f"{message}."
        if len(place) == 1 and place[0] in self.choices:
            return f"{message}. A file whose keys go to the top begins with '# @package _global_'."
        nearest = self._nearest(place, fault.instead)
        if nearest:
            return f"{message}; did you mean {nearest}?"
        if len(place) == 1:
            return f"{message}. `--cfg job` shows the keys."
        names = sorted(fault.instead)
        more = ", ..." if len(names) > _SHOWN else ""
        return f"{message}; there are {', '.join(names[:_SHOWN]) or 'none'}{more}."

    def _nearest(self, place: Place, instead: frozenset[str]) -> str | None:
        beside = difflib.get_close_matches(place[-1], sorted(instead), 1)
        if beside:
            return ".".join((*place[:-1], beside[0]))
        by_name: dict[str, Place] = {}
        for known in sorted(self.known, key=lambda one: (len(one), one)):
            by_name.setdefault(known[-1], known)
        elsewhere = difflib.get_close_matches(place[-1], sorted(by_name), 1, cutoff=0.75)
        return ".".join(by_name[elsewhere[0]]) if elsewhere else None


def _not_imported(place: Place, target: str, error: Exception) -> str:
    said = f"{'.'.join(place)}: Error loading '{target}': {type(error).__name__}: {error}."
    if isinstance(error, ModuleNotFoundError) and error.name == target.partition(".")[0]:
        return f"{said} A module of your own lies in the current folder, or on PYTHONPATH."
    return said


# ---- Configs ----------------------------------------------------------------------------------


def _plain(config: Any) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config, resolve=False)
    return plain if isinstance(plain, dict) else {}


def _package(file: Path) -> str | None:
    """What a file's first lines say of the place that it goes to."""
    found = re.search(r"^#\s*@package\s+(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


def _group_keys(entry: Any) -> Iterator[str]:
    """The key at the top that the files of a group of a defaults list fill."""
    for group in entry if isinstance(entry, dict) else ():
        if not group.startswith("override "):
            packages = {_package(file) for file in (conf_dir() / group).glob("*.yaml")}
            yield from {(package or group).partition(".")[0] for package in packages}


def _refers(value: Any) -> bool:
    return isinstance(value, str) and "${" in value


def _references(node: Any, place: Place = ()) -> Iterator[Place]:
    """The places that the interpolations of a plain config refer to."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _references(value, (*place, str(name)))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _references(value, (*place, str(number)))
    elif isinstance(node, str):
        found = re.findall(r"\$\{\s*(?:oc\.(?:select|dict\.\w+)\s*:\s*)?([^${}:,\s]+)\s*[},]", node)
        for key in found:
            dots = len(key) - len(key.lstrip("."))
            start = place[: len(place) - dots] if dots else ()
            names = tuple(name for name in re.split(r"[.\[\]]+", key) if name)
            yield (*start, *names)


# ---- Where a key stands -----------------------------------------------------------------------


def _hydra_run() -> Any:
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.instance().cfg.hydra if HydraConfig.initialized() else None  # type: ignore[union-attr]


_COMMAND_LINE = "command line"
_Source = tuple[str, Place, dict[str, Any] | None]
"""What to call it, the place that it fills, and a file's content."""


def _files() -> list[_Source]:
    """The files and then the words that the config was composed of, but for adpt's own files."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    run = _hydra_run()
    if run is None or not GlobalHydra.instance().is_initialized():
        return []
    loader: Any = GlobalHydra.instance().config_loader()
    words = list(run.overrides.task)
    defaults = loader.compute_defaults_list(
        run.job.config_name, [*words, *run.overrides.hydra], RunMode.RUN
    ).defaults
    found: list[_Source] = []
    for default in defaults:
        loaded = loader.repository.load_config(default.config_path)
        if loaded is None or loaded.path == f"file://{conf_dir()}":
            continue
        path = Path(loaded.path.removeprefix("file://")) / f"{default.config_path}.yaml"
        package = tuple(name for name in (default.package or "").split(".") if name)
        found.append((os.path.relpath(path), package, _plain(loaded.config)))
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if key not in run.runtime.choices:
            found.append((_COMMAND_LINE, tuple(key.split(".")), None))
    return found


def _where(place: Place, files: "list[_Source]") -> str:
    for label, start, content in reversed(files):
        if content is None:
            if place[: len(start)] == start[: len(place)]:
                return f" ({label})"
        elif place[: len(start)] == start and _holds(content, place[len(start) :]):
            return f" ({label})"
    return ""


def _holds(content: Any, rest: Place) -> bool:
    for name in rest:
        if not isinstance(content, dict) or name not in content:
            return False
        content = content[name]
    return True
