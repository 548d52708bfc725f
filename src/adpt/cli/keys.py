"""Keys of a config: a class's arguments, the parts of a folder, the name nearest to another."""

import difflib
import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from adpt.cli.origins import Place, hydra_run, plain
from adpt.cli.types import hints
from adpt.running.paths import conf_dir


def arguments(target: Callable[..., Any]) -> dict[str, Any] | None:
    """Names and types of the arguments of a class or function; None where it takes any.

    A class of adpt that hands further options on to its base takes the base's as well.
    """
    makers: list[Any] = [target]
    if inspect.isclass(target) and target.__module__.startswith("adpt."):
        bases = [base for base in target.__mro__ if base is not object]
        makers = [vars(base)["__init__"] for base in bases if "__init__" in vars(base)] or makers
    found: dict[str, Any] = {}
    for maker in makers:
        try:
            parameters = inspect.signature(maker).parameters.values()
        except (TypeError, ValueError):
            return None
        types = hints(maker)
        named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        found = {name: types[name] for name in named if name != "self"} | found
        if all(p.kind != p.VAR_KEYWORD for p in parameters):
            return found
    return None


def targets_in(folder: Path, group: str) -> dict[str, str]:
    """The parts that the files of a group in a folder have, by name: their `_target_`."""
    found: dict[str, str] = {}
    for file in sorted((folder / group).glob("*.yaml")):
        content = plain(OmegaConf.load(file))
        package = package_of(file) or group
        if "_target_" in content:
            found[package.rpartition(".")[2]] = content["_target_"]
        for name, part in content.items():
            if isinstance(part, dict) and isinstance(part.get("_target_"), str):
                found.setdefault(name, part["_target_"])
    return found


def own_folders() -> list[Path]:
    """The folders of configuration that the command line or a file of the user's adds."""
    run = hydra_run()
    sources = run.runtime.config_sources if run else []
    folders = [Path(source.path) for source in sources if source.schema == "file"]
    return [folder for folder in folders if folder != conf_dir()]


def package_of(file: Path) -> str | None:
    """The place in the config that a file's first lines name for it."""
    found = re.search(r"^#\s*@package\s+(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


def nearest(place: Place, beside: Iterable[str], known: Iterable[Place]) -> str | None:
    """The name, from the top down, that comes nearest to one that is not known.

    Args:
        place: Where the unknown name stands.
        beside: Names that may stand there.
        known: Other places, any of which may be meant if its last name is near enough.
    """
    near = difflib.get_close_matches(place[-1], sorted(beside), 1)
    if near:
        return ".".join((*place[:-1], near[0]))
    by_name: dict[str, Place] = {}
    for one in sorted(known, key=lambda one: (len(one), one)):
        by_name.setdefault(one[-1], one)
    elsewhere = difflib.get_close_matches(place[-1], sorted(by_name), 1, cutoff=0.75)
    return ".".join(by_name[elsewhere[0]]) if elsewhere else None
