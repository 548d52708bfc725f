"""Which process is at work in an output folder: two would do all work twice."""

import errno
import functools
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from adpt.errors import UserError

if sys.platform != "win32":
    import fcntl

LOCK = ".adpt-at-work"
"""Locked by the process that works in a folder, and says which one that is."""

_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Variables that number the processes of one run; the first of them, of number 0, locks."""

T = TypeVar("T")


def alone_in_output_dir(task: Callable[[Any], T]) -> Callable[[Any], T]:
    """Make an entry refuse a config whose `output_dir` another process works in."""

    @functools.wraps(task)
    def run(config: Any) -> T:
        with at_work(Path(str(config.output_dir))):
            return task(config)

    return run


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder for a while; the death of this one lets them in.

    Nothing is locked where the file system has no locks, on Windows, and by all processes of a run
    but the first.

    Raises:
        UserError: Another process is at work there.
    """
    if sys.platform == "win32" or any(os.environ.get(rank, "0") != "0" for rank in _RANKS):
        yield
        return
    path = folder / LOCK
    file = _locked(path)
    try:
        yield
    finally:
        if file is not None:
            with suppress(OSError):
                path.unlink()
            os.close(file)


def _locked(path: Path) -> int | None:
    """A handle of the locked file, or None where it cannot be locked."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                # Not flock: the workers of a killed process would hold it for some seconds more.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Who had it may have removed the file meanwhile, and a third have made a new one.
                if os.fstat(file).st_nlink:
                    os.ftruncate(file, 0)
                    os.write(file, _told().encode())
                    return file
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    who = os.read(file, 500).decode(errors="replace") or "Another process"
                    os.close(file)
                    raise UserError(
                        f"{who} is at work in {path.parent.absolute()}; two would do all work"
                        " twice. Wait until it has ended, or give this command another folder:"
                        " hydra.run.dir=<folder>."
                    ) from error
                os.close(file)
                raise
            os.close(file)
    except OSError:
        return None


def _told() -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"Process {os.getpid()} on {socket.gethostname()} (since {since})"
