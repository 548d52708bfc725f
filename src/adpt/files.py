"""Files that are written whole or not at all."""

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adpt.errors import UserError

if sys.platform != "win32":
    import fcntl

PART = ".part"
"""Ending of a file that is not complete; its name begins with a dot."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path` to write; it takes the name `path` once complete.

    After an interruption or an error, `path` is as it was before. A process that is killed leaves
    the temporary file behind; see `remove_leftovers`.

    Raises:
        UserError: The file could not be written, for instance because the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error}.") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle) as held:
            _lock(held.fileno())
            yield temporary
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder and its subfolders."""
    for part in folder.rglob(f".*{PART}"):
        # A process that is still writing the file holds its lock; who dies, lets go of it.
        with contextlib.suppress(OSError), part.open("rb") as file:
            if _lock(file.fileno()):
                part.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lock(handle: int) -> bool:
    """Lock a file without waiting; whether that worked, which some file systems don't offer."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False
