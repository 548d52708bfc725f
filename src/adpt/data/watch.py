"""What the listing of a set looked at: unchanged, the listing would come out the same."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

Stamp = tuple[int, int, int]
"""Times of the last change of content and of status in ns, and size: another after any change.

The status' time is there because unpacking an archive may set the other one back.
"""


@dataclass
class Watch:
    """Everything that a listing depends on.

    Attributes:
        stamps: Folders and lists that were looked at, each as it was before that; None where
            there was none.
        remarks: What was said to the user.
    """

    stamps: dict[Path, Stamp | None] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watching() -> Iterator[Watch]:
    """Collect what is looked at and remarked within."""
    watch = Watch()
    token = _watch.set(watch)
    try:
        yield watch
    finally:
        _watch.reset(token)


def look_at(path: Path) -> None:
    """Tell that a folder or a list is looked at from here on."""
    watch = _watch.get()
    if watch is not None and path not in watch.stamps:
        watch.stamps[path] = stamp(path)


def remark(text: str) -> None:
    """Warn the user of something in the set that is no fault."""
    log.warning("%s", text)
    watch = _watch.get()
    if watch is not None:
        watch.remarks.append(text)


def stamp(path: Path | str) -> Stamp | None:
    """The stamp of a folder or file as it is now; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116  # Making a Path takes twice as long as this.
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size
