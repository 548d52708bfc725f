"""Values from the command line: of the kind that is wanted, or one message."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from adpt.errors import NO_EMBEDDED, UserError
from adpt.running.paths import conf_dir

# By the last word of an option's name; what takes them says so where it is defined.
_NULL_TOO = {
    "deterministic", "enable_model_summary", "enable_progress_bar", "fused", "heatmap_size",
    "levels", "limit_train_batches", "log_every_n_steps", "num_sanity_val_steps", "pool_size",
}  # fmt: skip
_TEXT_TOO = {"backbone_weights", "deterministic", "devices", "resolution"}
_LIST_TOO = {"devices", "image_size", "levels"}

_PLUGINS = {
    "+hparams_search=optuna": ("hydra_optuna_sweeper", "search"),
    "hydra/sweeper=optuna": ("hydra_optuna_sweeper", "search"),
    "hydra/launcher=submitit_local": ("hydra_submitit_launcher", "slurm"),
    "hydra/launcher=submitit_slurm": ("hydra_submitit_launcher", "slurm"),
}
"""Words that only a plugin of Hydra understands: its package, and the extra that brings it."""

Leaves = dict[tuple[str, ...], Any]
"""Plain values of a config, by their names from the top down; interpolations as they stand."""


# ---- Before Hydra reads them ------------------------------------------------------------------


def check_words(words: Iterable[str]) -> None:
    """Refuse what Hydra itself would end in a trace, or in a message that helps nobody.

    Args:
        words: Of the command line.

    Raises:
        UserError: A group is set to null, or a plugin is not installed.
    """
    for word in words:
        key, _, value = word.partition("=")
        group = conf_dir() / key.lstrip("+").partition("@")[0]
        if key.lstrip("+") == "backbone" and "embedded" in value.split(","):
            raise UserError(f"{word}: {NO_EMBEDDED}")
        if value == "null" and group != conf_dir() and group.is_dir():
            choices = ", ".join(sorted(path.stem for path in group.glob("*.yaml")))
            raise UserError(f"{word}: a group takes a file of its own, here one of {choices}.")
        package, extra = _PLUGINS.get(word, (None, None))
        if package and find_spec(f"hydra_plugins.{package}") is None:
            raise UserError(f"{word} needs a plugin of Hydra: pip install 'adpt[{extra}]'.")


# ---- Against the files' own -------------------------------------------------------------------


def check_kinds(config: DictConfig) -> None:
    """Refuse what stands in place of a number, of numbers, or of a boolean in the files.

    Outside of a Hydra run nothing is known of the files, and nothing is checked.

    Raises:
        UserError: There is such a value; the message names all of them.
    """
    files = _files()
    if files is None:
        return
    given = _leaves(config)
    faults = [
        fault
        for place, default in _leaves(files).items()
        if place in given and _differ(given[place], default)
        if (fault := _fault(".".join(place), _resolved(config, place), _resolved(files, place)))
    ]
    if faults:
        raise UserError("\n".join(faults))


def _files() -> DictConfig | None:
    """The config without the values of the command line; None where there are none."""
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if not HydraConfig.initialized() or not GlobalHydra.instance().is_initialized():
        return None
    run = HydraConfig.get()
    # Unresolved: an interpolation in a word means the job's config, not Hydra's.
    words = [str(word) for word in OmegaConf.to_container(run.overrides.task, resolve=False) or ()]
    chosen = [word for word in words if _is_of_group(word, run.runtime.choices)]
    if len(chosen) == len(words):
        return None
    try:
        return compose(run.job.config_name, chosen)
    except (HydraException, OmegaConfBaseException):
        return None  # A choice that depends on a value cannot be made without it.


def _is_of_group(word: str, choices: Mapping[str, Any]) -> bool:
    key = word.partition("=")[0].lstrip("+")
    return key in choices or (conf_dir() / key.partition("@")[0]).is_dir()


def _leaves(config: DictConfig) -> Leaves:
    def walk(node: dict[Any, Any], place: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
        for name, value in node.items():
            if isinstance(value, dict):
                yield from walk(value, (*place, str(name)))
            else:
                yield (*place, str(name)), value

    plain: Any = OmegaConf.to_container(config, resolve=False)
    return dict(walk(plain, ()))


def _differ(value: Any, default: Any) -> bool:
    return type(value) is not type(default) or value != default


def _resolved(config: DictConfig, place: tuple[str, ...]) -> Any:
    """A value behind its interpolations; "???" where it cannot be had."""
    from omegaconf.errors import OmegaConfBaseException

    try:
        value = OmegaConf.select(config, ".".join(place), throw_on_missing=True)
    except OmegaConfBaseException:
        return "???"
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _fault(key: str, value: Any, default: Any) -> str | None:
    name = key.rpartition(".")[2]
    if isinstance(default, bool):
        wanted, right = "true or false", isinstance(value, bool)
    elif is_number(default):
        wanted, right = "a number", is_number(value)
    elif isinstance(default, list) and default and all(map(is_number, default)):
        numbers = isinstance(value, list) and all(map(is_number, value))
        wanted, right = "a list of numbers", numbers or is_number(value) or value is None
    else:
        return None
    if name in _NULL_TOO:
        wanted += " or null"
    # What cannot be resolved is told by what needs it.
    right |= value == "???" or (value is None and name in _NULL_TOO)
    right |= isinstance(value, str) and name in _TEXT_TOO
    right |= isinstance(value, list) and name in _LIST_TOO
    if right:
        return None
    return f"{key}={shown(value)}: {wanted} is wanted, such as {shown(default)} (the default)."


# ---- Where they are used ----------------------------------------------------------------------


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """A value as one writes it on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple | ListConfig):
        return f"[{','.join(map(shown, value))}]"
    return str(value)


def names(option: str, value: Any) -> list[str] | None:
    """An option that takes one name or several, as a list; None for null.

    Raises:
        UserError: It is neither.
    """
    if value is None:
        return None
    listed = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not all(isinstance(name, str) or is_number(name) for name in listed):
        raise UserError(f"{option}={shown(value)}: a name is wanted, or a list of names.")
    return [str(name) for name in listed]


def check_texts(config: DictConfig, *options: str, null: bool = False) -> None:
    """Refuse what is no text where a path, a name or a title is wanted.

    Args:
        config: The composed config.
        options: Names at its top.
        null: Whether null is fine.

    Raises:
        UserError: One is a number, a list, empty or the like.
    """
    for option in options:
        value = config[option]
        if (isinstance(value, str) and value) or (null and value is None):
            continue
        wanted = "text or null is wanted" if null else "text is wanted"
        quoted = f"; with quotes a number is one: '{option}=\"{value}\"'"
        raise UserError(f"{option}={shown(value)}: {wanted}{quoted if is_number(value) else ''}.")


# ---- Told apart -------------------------------------------------------------------------------


def leaves(config: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The plain values of a config by their dotted names; lists count as one value."""
    if not isinstance(config, Mapping):
        yield name, config
        return
    for key, value in config.items():
        yield from leaves(value, f"{name}.{key}" if name else str(key))


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In words, what differs between the plain values of two configs or the like, by name."""
    # What was read from a file went through JSON, which knows no tuples.
    before, now = (json.loads(json.dumps(values, default=str)) for values in (before, now))
    pairs = {n: (before.get(n, _NO), now.get(n, _NO)) for n in sorted(now.keys() | before.keys())}
    # As text: a class of the user's own may tell 1 from 1.0.
    return [
        _change(name, *pair) for name, pair in pairs.items() if len(set(map(json.dumps, pair))) > 1
    ]


_NO = "not there"


def _change(name: str, before: Any, now: Any) -> str:
    if _is_hash(before) and _is_hash(now):
        return f"{name} changed"
    before, now = ("there" if _is_hash(value) else shown(value) for value in (before, now))
    return f"{name}: {before} → {now}"


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64
