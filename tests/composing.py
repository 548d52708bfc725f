"""Hydra's composing, its files read and merged once a process for each choice of them.

Most words of a command set a value once the files that the others choose are merged. What Hydra
makes of these is kept, and what sets the values is Hydra's own.
"""

import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

CONF = Path(__file__).resolve().parents[1] / "conf"


def composed(primary: str, *words: str) -> DictConfig:
    """A primary config as the command line would compose it."""
    chosen = tuple(word for word in words if _chooses(word))
    values = [_parsed(word) for word in words if not _chooses(word)]
    if any("searchpath" in word or "{" in word for word in chosen) or any(
        value.is_sweep_override() for value in values
    ):
        # Files of the test's own, a group's values at once, or a mistake.
        return composed_by_hydra(primary, *words)
    config: Any = pickle.loads(_merged(primary, chosen))  # noqa: S301
    ConfigLoaderImpl._apply_overrides_to_config(values, config)
    return config


def composed_by_hydra(primary: str, *words: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(primary, overrides=list(words))


@lru_cache(maxsize=1024)
def _merged(primary: str, chosen: tuple[str, ...]) -> bytes:
    return pickle.dumps(composed_by_hydra(primary, *chosen))


@lru_cache(maxsize=4096)
def _parsed(word: str) -> Override:
    return OverridesParser.create().parse_overrides([word])[0]


@lru_cache(maxsize=4096)
def _chooses(word: str) -> bool:
    """True if a word chooses a file, or is about Hydra."""
    key = word.partition("=")[0].lstrip("+~")
    return "@" in key or key.startswith("hydra") or (CONF / key).is_dir()
