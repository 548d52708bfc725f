"""New image files of a folder, each as soon as it is written whole; by looking again and again."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from adpt.data.files import walk_files
from adpt.errors import DataError

log = logging.getLogger(__name__)

_Stamp = tuple[int, int]
"""Size and time of a file's last change."""

_PAUSE = 0.2
"""Seconds between two looks; five times as long as a look takes, where that is more."""


def new_images(folder: Path, existing: bool, settle: float) -> Iterator[Path]:
    """Image files as they come into a folder or the folders in it from this call on, without end.

    A file is given once it has stayed as it was for `settle` seconds; at once if it came by a new
    name or was given its time, which whoever writes a file under another name or copies it does
    last. One that changes later is given again. An empty one never is.

    Args:
        folder: The folder; it may be away for a while.
        existing: True if files that are there at the start are given too.
        settle: Seconds.
    """
    given = {} if existing else {path: stamp for path, (stamp, _) in _look(folder).items()}
    return _coming(folder, given, settle)


def _coming(folder: Path, given: dict[Path, _Stamp], settle: float) -> Iterator[Path]:
    waiting: dict[Path, tuple[_Stamp, float]] = {}
    away = False
    while True:
        start = time.monotonic()
        try:
            found, why = _look(folder), "" if folder.is_dir() else f"{folder} is not there"
        except DataError as error:
            found, why = {}, str(error).rstrip(".")
        took = time.monotonic() - start
        if why and not away:
            log.warning("%s: looking again until it can be listed", why)
        away = bool(why)
        if not away:
            # Of a folder that comes back nothing is new but what is.
            given = {path: given[path] for path in given.keys() & found.keys()}
        waiting = {path: waiting[path] for path in waiting.keys() & found.keys()}
        for path in sorted(found, key=lambda path: (found[path][0][1], path)):
            stamp, moved = found[path]
            if given.get(path) == stamp or not stamp[0]:
                continue
            former, since = waiting.get(path, (None, start))
            if stamp != former:
                since = start
            waiting[path] = stamp, since
            if moved or start - since >= settle:
                del waiting[path]
                given[path] = stamp
                yield path
        time.sleep(max(_PAUSE, 5 * took))


def _look(folder: Path) -> dict[Path, tuple[_Stamp, bool]]:
    """The image files that are there, and of each whether it was moved since it was written."""
    found = {}
    for here, names in walk_files(folder):
        for name in names:
            try:
                status = (here / name).stat()
            except OSError:  # Gone since, or a link that leads nowhere.
                continue
            # Writing sets both times at once; on Windows the second is that of the file's making.
            moved = status.st_ctime_ns > status.st_mtime_ns
            found[here / name] = (status.st_size, status.st_mtime_ns), moved
    return found
