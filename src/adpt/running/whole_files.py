"""Files that are written whole or not at all."""

import contextlib
import errno
import hashlib
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from adpt.errors import UserError
from adpt.running.names import within_bytes

if sys.platform != "win32":
    import fcntl

PART = ".part"
"""Ending of a file that is not complete; its name begins with a dot."""

OUTPUT_MARK = ".adpt-output"
"""File that tells a folder of adpt's own results: images in it are never taken for input."""

_MARK_TEXT = (
    "adpt writes its results into this folder. Images in it are not taken as input while this file"
    " is here.\n"
)
_LONGEST_PREFIX = 200
"""Bytes of a file's name in that of its temporary file; a name takes 255 with what is added."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path` to write; it takes the name `path` once complete.

    After an interruption or an error, `path` is as it was before. The umask says who may read it. A
    process that is killed leaves the temporary file behind; see `remove_leftovers`.

    Raises:
        UserError: The file could not be written, for instance because the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{within_bytes(path.name, _LONGEST_PREFIX)}."
        temporary = path.with_name(f"{prefix}{secrets.token_hex(6)}{PART}")
        # Not by tempfile, whose files are their owner's alone, whatever the umask says.
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error}.") from error
    try:
        with os.fdopen(handle) as held:
            _lock(held.fileno())
            yield temporary
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(path: Path, option: str) -> None:
    """Find out whether a file can be written, before time is spent on what goes into it.

    Args:
        path: The file; nothing is left there.
        option: What the user gave it as, for messages.

    Raises:
        UserError: It cannot.
    """
    if path.is_dir():
        raise UserError(f"{option}={path} is a folder: give the name of a file.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{option}={path} cannot be written: {error.strerror}.") from error


def make_output_folder(folder: Path) -> None:
    """Make a folder for results, marked as one; a folder that is there already stays as it is.

    That may be the user's own, with images in it.

    Raises:
        OSError: It cannot be made.
    """
    if not folder.is_dir():
        mark_output(folder)


def mark_output(folder: Path) -> None:
    """Make a folder, if there is none, that holds nothing but what adpt writes, and mark it.

    Raises:
        OSError: It cannot be made, or not be marked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OUTPUT_MARK).write_text(_MARK_TEXT, encoding="utf-8")


def is_output(folder: Path) -> bool:
    """True if a folder is marked as one of adpt's own results."""
    return os.path.lexists(folder / OUTPUT_MARK)


def is_full_disk(error: BaseException) -> bool:
    """True if an error, or one that it was raised from, says that a disk or a quota is full."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _NO_ROOM:
            return True
        # Not the context: an error while another one is dealt with need not come from that one.
        cause = cause.__cause__
    return False


@contextmanager
def advising_on_full_disk(advice: Callable[[], str]) -> Iterator[None]:
    """Make a full disk an error that says how to go on later.

    Raises:
        UserError: A disk or a quota is full.
    """
    try:
        yield
    except Exception as error:
        if not is_full_disk(error):
            raise
        told = str(error).rstrip(".")
        raise UserError(f"{told}. Free some space there. {advice()}") from error


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
    """Lock a file without waiting; false where it is locked, or the file system has no locks."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False
