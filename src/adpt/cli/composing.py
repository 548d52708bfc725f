"""What Hydra refuses while it composes a config, as one line."""

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra._internal import utils
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import DictConfig

from adpt.cli.command_line import choices
from adpt.cli.keys import nearest, package_of
from adpt.cli.origins import Place, plain
from adpt.running.names import printable_text
from adpt.running.paths import conf_dir

_OWN_FOLDERS = ("--config-", "-cd", "-cp", "hydra.searchpath=")
"""How words begin that name folders of configuration of one's own."""


@contextmanager
def told_in_one_line(command: str, words: Sequence[str]) -> Iterator[None]:
    """Within, what Hydra refuses to compose ends with one line where its message has several.

    Args:
        command: The name of the command and of its primary config.
        words: Those of the command line, as they were typed.
    """
    # Hydra prints and exits there, before anything of adpt's is called.
    report = utils.run_and_report

    def reporting(func: Callable[[], Any]) -> Any:
        def composing() -> Any:
            with _ending(command, words):
                return func()

        return report(composing)

    utils.run_and_report = reporting
    try:
        with _ending(command, words):  # --help composes without a report.
            yield
    finally:
        utils.run_and_report = report


@contextmanager
def _ending(command: str, words: Sequence[str]) -> Iterator[None]:
    """Within, what Hydra refuses to compose ends the process with one line."""
    try:
        yield
    except ConfigCompositionException as error:
        message = composition_message(error, command, words)
        if message is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"\nadpt: {printable_text(message)}", file=sys.stderr)
        sys.exit(1)


def composition_message(
    error: ConfigCompositionException, command: str, words: Sequence[str]
) -> str | None:
    """One line for an option or a choice that is not there; None for what else may be wrong."""
    if isinstance(error, MissingConfigException):
        return _no_choice(error, words)
    said = str(error)
    if several := re.match(r"Multiple values for ([\w/]+)\.", said):
        added = [word for word in words if word.startswith(f"+{several[1]}=")]
        if added:
            return f"{added[0]}: {several[1]} is chosen already: {added[0][1:]} takes its place."
    named = re.match(r"Could not override '(.+)'\.", said)
    word = re.search(r"use \+(.*)$", said, re.DOTALL)
    if named is None or word is None:
        return None
    key, typed = named[1], word[1]
    if "No match in the defaults list" in said:
        group, _, choice = typed.partition("=")
        file = conf_dir() / group / f"{choice}.yaml"
        names = [one.strip(" '\"") for one in choice.strip("[]").split(",")]
        lacking = [one for one in names if not (conf_dir() / group / f"{one}.yaml").is_file()]
        # In a folder of one's own there may be such a file.
        elsewhere = any(one.lstrip("+").startswith(_OWN_FOLDERS) for one in words)
        if lacking and not elsewhere and (known := choices(group)):
            return f"{typed}: {_unknown(group, lacking[0], known)} +{group}=<one of them> adds it."
        if not file.is_file() or package_of(file) == "_global_":
            return f"{typed}: no file of {group} is chosen yet: +{typed} adds one."
        return f"{typed}: there is no option {group}. {_listed(command, ())}"
    cause: Any = error.__cause__
    parent = getattr(cause, "parent_node", None)
    if parent is None:
        return None
    # Of a dictionary it is not the key, which is there, but what it shall hold.
    full = str(cause.full_key)
    place = (full if full.startswith(f"{key}.") else key).split(".")
    return _no_option(typed, tuple(place), parent._get_root(), command)


def _no_option(word: str, place: Place, root: DictConfig, command: str) -> str:
    """A key that is not in the config."""
    config = plain(root)
    if place[0] != "hydra":
        config.pop("hydra", None)
    node: Any = config
    missing = 0
    while isinstance(node, dict) and place[missing] in node:
        node, missing = node[place[missing]], missing + 1
    here = place[: missing + 1]
    message = f"{word}: there is no option {'.'.join(here)}"
    if not isinstance(node, dict) or (missing and not node):
        message += f": {'.'.join(place[:missing])} has none below it."
        return f"{message} {_listed(command, place)}"
    known = list(_places(config))
    beside = [one[-1] for one in known if one[:-1] == here[:-1]]
    if name := nearest(here, beside, known) or nearest(place, [], known):
        message += f"; did you mean {name}?"
    else:
        message += f"; there are {', '.join(beside)}." if missing and beside else "."
        if "_target_" in node:
            message += f" One of {node['_target_']} that no file states takes a +: +{word}."
    return f"{message} {_listed(command, place)}"


def _no_choice(error: MissingConfigException, words: Sequence[str]) -> str | None:
    """A file that a group does not have."""
    sought = error.missing_cfg_file or ""
    group, _, choice = sought.rpartition("/")
    # Of one among several choices Hydra does not say what else there is.
    options = error.options or choices(group)
    told = f"{group}={choice} in the defaults of a file"
    for word in words:
        named = [one.strip(" '\"") for one in re.split(r"[=,\[\]]", word)[1:]]
        found = [one for one in named if sought.endswith(f"/{one}")]
        if found:
            told, choice = word, found[0]
            group = sought.removesuffix(f"/{choice}")
            folder = choice.rpartition("/")[0]
            inside = choices(f"{group}/{folder}") if folder else []
            options = [f"{folder}/{one}" for one in inside] or options
            break
    if not group or not options:
        return None
    return f"{told}: {_unknown(group, choice, options)}"


def _unknown(group: str, choice: str, options: Sequence[str]) -> str:
    near = difflib.get_close_matches(choice, options, 1)
    meant = f"; did you mean {near[0]}?" if near else "."
    wrong = f"{group} has no {choice}{meant}" if choice else f"it names no file of {group}."
    return f"{wrong} There are {', '.join(options)}."


def _places(node: dict[str, Any], place: Place = ()) -> Iterator[Place]:
    """Where the options of a plain config stand."""
    for name, value in node.items():
        if not name.startswith("_"):
            yield (*place, name)
            if isinstance(value, dict):
                yield from _places(value, (*place, name))


def _listed(command: str, place: Place) -> str:
    of = "hydra" if place[:1] == ("hydra",) else "job"
    return f"`python -m adpt.{command} --cfg {of}` lists the options."
