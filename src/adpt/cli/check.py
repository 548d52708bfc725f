"""A composed config against what is declared, before any work."""

import pkgutil
from typing import Any, NamedTuple, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from adpt.cli.command_line import GROUPS
from adpt.cli.keys import arguments, nearest, own_folders, targets_in
from adpt.cli.options import COMMANDS, Made, Parts, Section
from adpt.cli.origins import Place, Source, hydra_run, plain, references, refers, sources, where
from adpt.cli.types import fits, wanted
from adpt.cli.values import shown
from adpt.errors import UserError
from adpt.running.paths import conf_dir

_OF_HYDRA = {"_target_", "_partial_", "_args_", "_recursive_", "_convert_"}
_SHOWN = 12
"""Options of a class that a message lists at most."""


def check_options(config: DictConfig, command: str) -> None:
    """Refuse keys that nothing reads, and values of a wrong type or out of their range.

    At the top and in its sections stand the options that `adpt.cli.options` declares for the
    command. A node with a `_target_` has the arguments of that class or function, of the types
    that are annotated there. A key that another one's value refers to is read too.

    Args:
        config: The composed config.
        command: The command's name, such as "train"; of others nothing is checked.

    Raises:
        UserError: There are such keys or values, or a `_target_` that cannot be imported; the
            message names all of them.
    """
    if command in COMMANDS and (faults := _Check(config, command).faults):
        raise UserError("\n".join(faults))


class _Fault(NamedTuple):
    place: Place
    what: str
    instead: frozenset[str] | None = None
    """Names that may stand at that place; None where the message says enough."""


class _Check:
    """Walks a config once; `faults` are the messages."""

    def __init__(self, config: DictConfig, command: str) -> None:
        self.config, self.plain = config, plain(config)
        self.found: list[_Fault] = []
        self.known: set[Place] = set()
        self.errors: list[str] = []
        run = hydra_run()
        self.choices = set(run.runtime.choices) if run else set()
        self.read = set(references({**self.plain, "hydra": plain(run) if run else {}}))
        self.defaults = plain(OmegaConf.load(conf_dir() / f"{command}.yaml"))
        self._section((), self.plain, COMMANDS[command], self.defaults)
        files = sources() if self.found else []
        wrong = {fault.place for fault in self.found}
        # What refers to a wrong value is not told again.
        first = [f for f in self.found if wrong.isdisjoint(references(self._raw(f.place), f.place))]
        self.faults = self.errors + [self._message(fault, files) for fault in first]

    # ---- The walk ----------------------------------------------------------------------------

    def _section(
        self, place: Place, node: dict[str, Any], section: type[Section], defaults: dict[str, Any]
    ) -> None:
        """A node whose keys are declared in `adpt.cli.options`."""
        declared = get_type_hints(section, include_extras=True)
        self.known |= {(*place, name) for name in declared}
        for name, value in node.items():
            here, hint = (*place, name), declared.get(name)
            below = next((one for one in (hint, *get_args(hint)) if isinstance(one, type)), None)
            if hint is None:
                if not self._is_read(here):
                    self.found.append(_Fault(here, "nothing reads it", frozenset(declared)))
            elif isinstance(value, dict) and below and issubclass(below, Section):
                self._section(here, value, below, defaults.get(name, {}))
            elif isinstance(value, dict) and below is Made:
                self._made(here, value)
            elif isinstance(value, dict) and below is Parts:
                self._parts(name, value)
            elif below and issubclass(below, Section):
                options = ", ".join(f"{name}.{one}" for one in get_type_hints(below))
                self.found.append(_Fault(here, f"it has options of its own: {options}"))
            elif below in (Made, Parts):
                self._group(here, value)
            else:
                self._value(here, hint, defaults.get(name))

    def _group(self, place: Place, value: Any) -> None:
        if value is not None and not refers(value):
            name = ".".join(place)
            what = (
                f"a group takes a file of its own: {name}={value} on the command line, or"
                f" 'override /{GROUPS.get(name, name)}: {value}' in the defaults of a file"
            )
            self.found.append(_Fault(place, what))

    def _parts(self, group: str, node: dict[str, Any]) -> None:
        if "_target_" in node:
            what = (
                f"its parts have names: the file's first line is to be '# @package {group}.<name>',"
                " or the part stands under a name"
            )
            self.found.append(_Fault((group, "_target_"), what))
            return
        for name, options in node.items():
            if options is not None and not refers(options):
                self._part(group, name, options)

    def _part(self, group: str, name: str, options: Any) -> None:
        place = (group, name)
        if isinstance(options, dict) and "_target_" in options:
            self._made(place, options)
            return
        # Options of a part that is not chosen are left out, and need not be wrong.
        named: dict[str, str] = {}
        for folder in (conf_dir(), *own_folders()):
            named |= targets_in(folder, group)
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
            if "_target_" not in node and node:
                self.found.append(_Fault(place, "no _target_ says what is made of it"))
            return
        if refers(target):
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
        self, place: Place, node: dict[str, Any], target: str, taken: dict[str, Any]
    ) -> None:
        self.known |= {(*place, name) for name in taken}
        for name, value in node.items():
            here = (*place, name)
            if name in taken:
                self._value(here, taken[name])
            elif place[0] == "method" and name == "pretrained" and isinstance(value, dict):
                # What replaces the others on pretrained features.
                self._arguments(here, value, target, taken)
            elif name not in _OF_HYDRA:
                what = f"{target} has no such option"
                self.found.append(_Fault(here, what, frozenset(taken)))

    def _children(self, place: Place, node: Any) -> None:
        """Parts that are made within an argument, at any depth."""
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

    def _value(self, place: Place, hint: Any, default: Any = None) -> None:
        value = self._resolved(place)
        # A size that refers to data.image_size=auto is settled by the good images, and Lightning
        # gets the precision that was measured.
        settled = place == ("trainer", "precision") or refers(self._raw(place))
        later = value == "auto" and settled
        if value == "???" or fits(value, hint) or later:
            return
        what = f"{wanted(hint)} is wanted"
        if default not in (None, "???") and not refers(default) and fits(default, hint):
            what += f", such as {shown(default)} (the default)"
        elif isinstance(value, int | float) and not isinstance(value, bool) and "text" in what:
            what += f"; with quotes a number is one: '{'.'.join(place)}=\"{value}\"'"
        self.found.append(_Fault(place, what))

    def _raw(self, place: Place) -> Any:
        value: Any = self.plain
        for name in place:
            value = value[int(name)] if isinstance(value, list) else value[name]
        return value

    def _resolved(self, place: Place) -> Any:
        """A value behind its interpolations; "???" where it cannot be had: what needs it tells."""
        try:
            value = OmegaConf.select(self.config, ".".join(place), throw_on_missing=True)
            return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        except OmegaConfBaseException:
            return "???"

    def _is_read(self, place: Place) -> bool:
        return any(read[: len(place)] == place or place[: len(read)] == read for read in self.read)

    # ---- Messages ----------------------------------------------------------------------------

    def _message(self, fault: _Fault, files: list[Source]) -> str:
        place = fault.place
        value = self._raw(place)
        value = self._resolved(place) if refers(value) else value
        said = "" if isinstance(value, dict) else f"={shown(value)}"
        message = f"{'.'.join(place)}{said}{where(place, files)}: {fault.what}"
        if fault.instead is None:
            return f"{message}."
        if len(place) == 1 and place[0] in self.choices:
            return f"{message}. A file whose keys go to the top begins with '# @package _global_'."
        name = nearest(place, fault.instead, self.known)
        if name:
            return f"{message}; did you mean {name}?"
        if len(place) == 1:
            return f"{message}. `--cfg job` shows the keys."
        names = sorted(fault.instead)
        more = ", ..." if len(names) > _SHOWN else ""
        return f"{message}; there are {', '.join(names[:_SHOWN]) or 'none'}{more}."


def _not_imported(place: Place, target: str, error: Exception) -> str:
    said = f"{'.'.join(place)}: Error loading '{target}': {type(error).__name__}: {error}."
    if isinstance(error, ModuleNotFoundError) and error.name == target.partition(".")[0]:
        return f"{said} A module of your own lies in the current folder, or on PYTHONPATH."
    return said
