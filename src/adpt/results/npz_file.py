"""Arrays in a small file beside a record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adpt.errors import UserError
from adpt.running.whole_files import replacing


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write a file, whole or not at all.

    Raises:
        UserError: It could not be written.
    """
    everything: dict[str, Any] = dict(arrays)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **everything)


def load_arrays(path: Path, kind: str) -> dict[str, npt.NDArray[Any]]:
    """Read a file that `save_arrays` wrote.

    Args:
        path: The file.
        kind: What it should hold, in words.

    Raises:
        UserError: It is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:
        raise unreadable(path, kind, error) from error


def unreadable(path: Path, kind: str, error: Exception) -> UserError:
    """The error for a file that does not hold what it should."""
    return UserError(f"{path} cannot be read as {kind}: {error}. Delete it and evaluate again.")
