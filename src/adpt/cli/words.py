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
    """
    words = ("metrics=[]" if word == "metrics=null" else word for word in words)
    parts = (word.partition("=") for word in words)
    renamed = ((GROUPS.get(key, key), sign, value) for key, sign, value in parts)
    return [re.sub(r"^metrics\.", "metric.", "".join(word)) for word in renamed]


def check_words(words: Iterable[str]) -> None:
    """Refuse what Hydra itself would end in a trace, or in a message that helps nobody.

    Args:
        words: Of the command line.

    Raises:
        UserError: A word is no UTF-8, as Hydra's own files are, a group is set to null, or a plugin
            is not installed.
    """
    for word in words:
        if word != word.encode(errors="ignore").decode():
            raise UserError(
                f"{printable(word)} holds bytes that are no UTF-8: rename the file or folder, or"
                " name it by a pattern, with ? in place of such a letter."
            )
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
