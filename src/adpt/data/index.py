"""The index of a large set: a class's listing on disk, taken again while its folders are unchanged.

An index holds what was found, and the stamp of every folder of the class and of the lists that name
its files. It is taken only if each has its stamp still, so a file that was added, removed, renamed
or put in another's place is noticed, and so is a list that changed. A file whose content is
overwritten under its own name changes no listing; reading it checks image and mask anew.
"""

import gc
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adpt.data.checks import files_of
from adpt.data.files import is_hidden
from adpt.data.sample import Sample
from adpt.errors import UserError
from adpt.running.paths import index_dir
from adpt.running.whole_files import replacing
from adpt.version import __version__

log = logging.getLogger(__name__)

FORMAT = 5
"""Goes up with every change of what an index holds, or of how sets are listed."""
SETTLED = 2.0
"""Seconds. Of a folder that changed later than this before it was listed no index is kept: file
systems count time in steps, so a further change might leave it the same stamp."""

Found = tuple[list[Sample], list[str]]
"""Samples, and what is to be said of them."""


def indexed(
    root: Path,
    decides: Mapping[str, Any],
    tree: Path,
    lists: Sequence[Path],
    find: Callable[[], Found],
) -> Found:
    """The outcome of `find`, from its index where that holds still.

    Args:
        root: Folder of the set. Nothing is written there.
        decides: Whatever decides over the listing beside the files: names, options.
        tree: The folder within `root` that all files lie in. Where links lead elsewhere from it, or
            a file lies elsewhere, no index is kept.
        lists: Files within `root` that name these, whether they are there or not.
        find: Lists at least one file. Of images with several masks no index is kept.
    """
    named = {"format": FORMAT, "adpt": __version__, "root": str(root.absolute()), **decides}
    key = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:32]
    file = index_dir() / f"{key}.json"
    content = _read(file)
    if content is not None and all(
        stamp == _stamp(f"{root}/{name}") for name, stamp in content["stamps"].items()
    ):
        return _samples(content, root), content["remarks"]
    began = time.time()
    samples, remarks = find()
    stamps = _stamps(tree, lists)
    newest = max((max(stamp[:2]) for stamp in stamps.values() if stamp), default=0) / 1e9
    folders = {os.path.dirname(path) for path in files_of(samples)}  # noqa: PTH120
    whole = not any(sample.further_masks for sample in samples)
    if whole and began - newest > SETTLED and folders <= stamps.keys():
        try:
            _write(file, _content(samples, remarks, stamps, root))
        except UserError as error:
            log.warning("The listing of %s is not kept for the next time: %s", root, error)
    return samples, remarks


@contextmanager
def no_collection() -> Iterator[None]:
    """Let Python look for no garbage: among 100,000 new objects that takes most of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _stamps(tree: Path, lists: Sequence[Path]) -> dict[str, list[int] | None]:
    """Stamps of lists, and of folders and links in a tree; none where a link leads to a folder."""
    found, waiting = {str(file): _stamp(str(file)) for file in lists}, [str(tree)]
    while waiting:
        here = waiting.pop()
        found[here] = _stamp(here)
        with os.scandir(here) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if entry.is_symlink():
                    if Path(entry.path).is_dir():
                        return {}
                    found[entry.path] = _stamp(entry.path)
                elif entry.is_dir():
                    waiting.append(entry.path)
    return found


def _stamp(path: str) -> list[int] | None:
    """Times of the last change of content and of status in ns, and size; None of what is not there.

    The status' time is there because unpacking an archive may set the other one back.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  # Making a Path takes twice as long as this.
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_ctime_ns, status.st_size]


def _content(
    samples: Sequence[Sample],
    remarks: Sequence[str],
    stamps: Mapping[str, list[int] | None],
    root: Path,
) -> dict[str, Any]:
    def below(path: Path | None) -> str | None:
        return None if path is None else path.relative_to(root).as_posix()

    rows = [
        (below(s.image), s.label, s.class_name, s.split, below(s.mask), s.view, s.defect, False,
         s.piece) for s in samples
    ]  # fmt: skip
    return {
        "stamps": {below(Path(path)): stamp for path, stamp in stamps.items()},
        "remarks": remarks,
        # Column by column, as that is parsed faster than sample by sample.
        "samples": list(zip(*rows, strict=True)),
    }


def _samples(content: Mapping[str, Any], root: Path) -> list[Sample]:
    images, labels, classes, splits, masks, *further = content["samples"]
    marked = [mask and root / mask for mask in masks]
    return list(map(Sample, map(root.joinpath, images), labels, classes, splits, marked, *further))


def _write(file: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, separators=(",", ":")).encode()
    with replacing(file) as temporary:
        temporary.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)


def _read(file: Path) -> dict[str, Any] | None:
    """The content that `_write` wrote; None where there is no such file, or a damaged one."""
    try:
        digest, _, text = file.read_bytes().partition(b"\n")
    except OSError:
        return None
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    content: dict[str, Any] = json.loads(text)
    return content
