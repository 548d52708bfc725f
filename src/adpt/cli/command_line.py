"""Words of the command line, before Hydra reads them."""

import re
from collections.abc import Iterable
from importlib.util import find_spec

from adpt.errors import NO_EMBEDDED, UserError
from adpt.running.names import printable
from adpt.running.paths import conf_dir

_PLUGINS = {
    "+hparams_search=optuna": ("hydra_optuna_sweeper", "search"),
    "hydra/sweeper=optuna": ("hydra_optuna_sweeper", "search"),
    "hydra/launcher=submitit_local": ("hydra_submitit_launcher", "slurm"),
    "hydra/launcher=submitit_slurm": ("hydra_submitit_launcher", "slurm"),
}
"""Words that only a plugin of Hydra understands: its package, and the extra that brings it."""


GROUPS = {"train_data": "data@train_data", "metrics": "metric"}
"""Words of `adpt.evaluate` that choose files of a group of another name, and how Hydra calls it."""


def hydras_words(words: Iterable[str]) -> list[str]:
    """Hydra's words: `data@train_data=visa` for `train_data=visa`, `metric=` for `metrics=`.

    A group cannot be called metrics, for `adpt.report` has an option of that name; and one of which
    several may be chosen takes an empty list for none.

    Raises:
        UserError: Such a group is set to a number.
    """
    renamed = []
    for word in words:
        key, sign, value = ("metrics=[]" if word == "metrics=null" else word).partition("=")
        if key in GROUPS and _has_number(value):
            raise _no_file(word, GROUPS[key])
        renamed.append(re.sub(r"^metrics\.", "metric.", GROUPS.get(key, key) + sign + value))
    return renamed


def check_words(words: Iterable[str]) -> None:
    """Refuse what Hydra itself would end in a trace, or in a message that helps nobody.

    Raises:
        UserError: A word is no UTF-8, as Hydra's own files are, or names no option, a group is set
            to null or to a number, or a plugin is not installed.
    """
    for word in words:
        if word != word.encode(errors="ignore").decode():
            raise UserError(
                f"{printable(word)} holds bytes that are no UTF-8: rename the file or folder, or"
                " name it by a pattern, with ? in place of such a letter."
            )
        key, _, value = word.partition("=")
        group = key.lstrip("+").partition("@")[0]
        if not key.partition("@")[0].strip("+~ /."):
            raise UserError(f"{printable(word) or repr(word)} names no option: give name=value.")
        if key.lstrip("+") == "backbone" and "embedded" in value.split(","):
            raise UserError(f"{word}: {NO_EMBEDDED}")
        wrong = value == "null" or _has_number(value)
        if wrong and group and (conf_dir() / group).is_dir():
            raise _no_file(word, group)
        package, extra = _PLUGINS.get(word, (None, None))
        if package and find_spec(f"hydra_plugins.{package}") is None:
            raise UserError(f"{word} needs a plugin of Hydra: pip install 'adpt[{extra}]'.")


def _has_number(value: str) -> bool:
    """True if a group's file, or one of several, is a number or truth value to Hydra."""
    scalar = r"[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)|true|false"
    return any(
        re.fullmatch(scalar, one.strip(), re.IGNORECASE) for one in value.strip("[]").split(",")
    )


def _no_file(word: str, group: str) -> UserError:
    known = ", ".join(choices(group.partition("@")[0]))
    return UserError(f"{word}: a group takes a file of its own, here one of {known}.")


def choices(group: str) -> list[str]:
    """Names of the files of a group."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
