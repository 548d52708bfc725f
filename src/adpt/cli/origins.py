"""Where the keys of a config come from: files of the user's, and words of the command line."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from adpt.running.paths import conf_dir

Place = tuple[str, ...]
"""Where a key stands, from the top down."""

Source = tuple[str, Place, dict[str, Any] | None]
"""Its label, the place that it fills, and a file's content."""


def plain(config: Any) -> dict[str, Any]:
    """A config as plain values, interpolations as they stand."""
    values: Any = OmegaConf.to_container(config, resolve=False)
    return values if isinstance(values, dict) else {}


def refers(value: Any) -> bool:
    """True if a plain value holds an interpolation."""
    return isinstance(value, str) and "${" in value


def references(node: Any, place: Place = ()) -> Iterator[Place]:
    """The places that the interpolations of a plain config refer to."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from references(value, (*place, str(name)))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from references(value, (*place, str(number)))
    elif isinstance(node, str):
        found = re.findall(r"\$\{\s*(?:oc\.(?:select|dict\.\w+)\s*:\s*)?([^${}:,\s]+)\s*[},]", node)
        for key in found:
            dots = len(key) - len(key.lstrip("."))
            start = place[: len(place) - dots] if dots else ()
            names = tuple(name for name in re.split(r"[.\[\]]+", key) if name)
            yield (*start, *names)


def hydra_run() -> Any:
    """Hydra's own config; None outside of its runs."""
    return HydraConfig.instance().cfg.hydra if HydraConfig.initialized() else None  # type: ignore[union-attr]


def sources() -> list[Source]:
    """The files and then the words that the config was composed of, but for adpt's own files."""
    run = hydra_run()
    if run is None or not GlobalHydra.instance().is_initialized():
        return []
    loader: Any = GlobalHydra.instance().config_loader()
    # Unresolved: an interpolation in a word means the job's config, not Hydra's.
    given: Any = OmegaConf.to_container(run.overrides, resolve=False)
    words = given["task"]
    defaults = loader.compute_defaults_list(
        run.job.config_name, [*words, *given["hydra"]], RunMode.RUN
    ).defaults
    found: list[Source] = []
    for default in defaults:
        loaded = loader.repository.load_config(default.config_path)
        if loaded is None or loaded.path == f"file://{conf_dir()}":
            continue
        path = Path(loaded.path.removeprefix("file://")) / f"{default.config_path}.yaml"
        package = tuple(name for name in (default.package or "").split(".") if name)
        found.append((os.path.relpath(path), package, plain(loaded.config)))
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if key not in run.runtime.choices:
            found.append(("command line", tuple(key.split(".")), None))
    return found


def where(place: Place, files: list[Source]) -> str:
    """The last of the sources that gives a key, in parentheses; nothing where none does."""
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
