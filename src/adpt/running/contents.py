"""Content of files as hashes, each file read once by a process as long as it stays as it is."""

import hashlib
import os
import stat
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from adpt.running.progress import Progress, no_progress
from adpt.running.whole_files import sha256

_THREADS = 4
_SETTLED = 2.0
"""Seconds. What changed later than this before it was read is read again the next time: file
systems count time in steps, so a further change might leave the same stamp."""
_Stamp = tuple[int, int, int, int]
_known: dict[tuple[str, _Stamp], str] = {}


def contents(paths: Iterable[Path], progress: Progress = no_progress) -> dict[Path, str | None]:
    """SHA-256 of files, in hex; None of one that is not there or cannot be read.

    Args:
        paths: The files; each is read once, in threads.
        progress: Told of every thousandth.
    """
    listed = list(dict.fromkeys(paths))
    found: dict[Path, str | None] = {}
    with ThreadPoolExecutor(_THREADS) as threads:
        for number, (path, digest) in enumerate(zip(listed, threads.map(_of, listed), strict=True)):
            found[path] = digest
            if number % 1000 == 999:
                progress("reading files", number + 1, len(listed))
    return found


def content_of_folder(folder: Path) -> str:
    """SHA-256 over names and contents of all files below a folder, hidden ones left out, in hex."""
    files = []
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(here, name) for name in names if not name.startswith(".")]
    digest = hashlib.sha256()
    for path, content in sorted(contents(files).items()):
        digest.update(f"{path.relative_to(folder).as_posix()} {content};".encode(errors="replace"))
    return digest.hexdigest()


def _of(path: Path) -> str | None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # A pipe would be waited for.
            return None
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        digest = _known.get((str(path), stamp))
        if digest is None:
            began = time.time()
            digest = sha256(path)
            if began - max(status.st_mtime, status.st_ctime) > _SETTLED:
                _known[str(path), stamp] = digest
        return digest
    except OSError:
        return None
