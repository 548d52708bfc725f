"""Where things lie: the configuration, and what is kept between runs."""

import os
from pathlib import Path

from adpt.errors import UserError


def conf_dir() -> Path:
    """Give the folder of Hydra's configuration: `adpt/conf` in a wheel, `conf` in a checkout.

    Raises:
        UserError: Neither exists; the message names both places.
    """
    package = Path(__file__).resolve().parents[1]
    # Only a wheel has the first, so a stranger's `conf` near site-packages is never taken.
    candidates = (package / "conf", package.parents[1] / "conf")
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    looked = " and ".join(map(str, candidates))
    raise UserError(
        f"The configuration of adpt is missing: looked for {looked}. "
        "Install adpt from its wheel, or from a whole checkout with `make setup`."
    )


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with its leading `~` or `~user` written out, unless a file of that very name exists.

    A `~` that stands for nobody's home stays.
    """
    given = Path(path)
    try:
        return given if os.path.lexists(given) else given.expanduser()
    except RuntimeError:  # No such user.
        return given


def index_dir() -> Path:
    """Give the folder of the indices of large sets: beside that of cached features."""
    features = os.environ.get("ADPT_CACHE", "~/.cache/adpt/features")
    return Path(features).expanduser().absolute().parent / "index"
