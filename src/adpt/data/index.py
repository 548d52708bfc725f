"""The index of a large set: its listing on disk, taken again as long as the set is unchanged.

An index holds for a class what was found, and the stamp of every folder and list that was looked
at for it. It is taken only if each of them has its stamp still, so a file that was added, removed,
renamed or put in another's place is noticed, and so is a list that changed. A file whose content
is overwritten under its own name changes no listing; reading it checks image and mask anew.
"""

import gc
import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adpt.data.sample import Sample
from adpt.data.watch import Watch, remark, stamp, watching
from adpt.errors import UserError
from adpt.running.files import replacing
from adpt.running.paths import index_dir
from adpt.version import __version__

log = logging.getLogger(__name__)

FORMAT = 2
"""Goes up with every change of what an index holds, or of how sets are listed."""
SETTLED = 2.0
"""Seconds. Of a folder that changed later than this before it was listed no index is kept: file
systems count time in steps, so a further change might leave it the same stamp."""


def indexed(
    root: Path, decides: Mapping[str, Any], find: Callable[[], Sequence[Sample]]
) -> list[Sample]:
    """The samples of a class, from its index where that holds still.

    Args:
        root: Folder of the set; everything that is found and looked at lies in it. Nothing is
            written there.
        decides: Whatever decides over the listing beside the files: names, options.
        find: Lists the files, at least one, through `adpt.data.files`; what else it looks at it
            has to tell (`watch.look_at`).
    """
    named = {"format": FORMAT, "adpt": __version__, "root": str(root.absolute()), **decides}
    key = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:32]
    file = index_dir() / f"{key}.json"
    content = _read(file)
    if content is not None and _holds(content["stamps"], root):
        for text in content["remarks"]:
            remark(text)
        return _samples(content, root)
    began = time.time()
    with watching() as watch:
        samples = list(find())
    if began - _newest(watch) > SETTLED:
        try:
            _write(file, _content(samples, watch, root))
        except UserError as error:
            log.warning("The listing of %s is not kept for the next time: %s", root, error)
    return samples


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


def _newest(watch: Watch) -> float:
    """When the last of the changes was that the stamps tell, in seconds since the epoch."""
    return max((max(s[:2]) for s in watch.stamps.values() if s), default=0) / 1e9


def _holds(stamps: Mapping[str, list[int] | None], root: Path) -> bool:
    for name, before in stamps.items():
        now = stamp(f"{root}/{name}")
        if now != (None if before is None else tuple(before)):
            return False
    return True


def _content(samples: Sequence[Sample], watch: Watch, root: Path) -> dict[str, Any]:
    numbers: dict[str, int] = {}

    def split(path: Path | None) -> tuple[int, str] | tuple[None, None]:
        if path is None:
            return None, None
        folder, name = os.path.split(path)
        return numbers.setdefault(folder, len(numbers)), name

    return {
        "stamps": {path.relative_to(root).as_posix(): s for path, s in watch.stamps.items()},
        "remarks": watch.remarks,
        # Column by column, as that is parsed faster than sample by sample.
        "images": _columns([split(sample.image) for sample in samples]),
        "masks": _columns([split(sample.mask) for sample in samples]),
        "folders": [Path(folder).relative_to(root).as_posix() for folder in numbers],
        "facts": _columns([(s.label, s.class_name, s.split, s.view, s.defect) for s in samples]),
    }


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True))


def _samples(content: Mapping[str, Any], root: Path) -> list[Sample]:
    folders = _below([root], [0] * len(content["folders"]), content["folders"])
    images, masks = (_below(folders, *content[which]) for which in ("images", "masks"))
    labels, classes, splits, views, defects = content["facts"]
    return list(map(Sample, images, labels, classes, splits, masks, views, defects))


def _below(folders: Sequence[Path], numbers: Sequence[int | None], names: Sequence[str]) -> Any:
    """The path of each name within the folder of its number; None where there is no number."""
    pairs = zip(numbers, names, strict=True)
    if sys.version_info >= (3, 12):
        return [None if number is None else folders[number] / name for number, name in pairs]
    # 3.11 takes the whole path apart anew, which is half the time of reading an index; these names
    # come from paths and need that no more.
    make: Any = type(folders[0])._from_parsed_parts  # type: ignore[attr-defined]
    known = [(folder.drive, folder.root, folder.parts) for folder in folders]
    found: list[Path | None] = []
    for number, name in pairs:
        if number is None:
            found.append(None)
            continue
        drive, top, parts = known[number]
        further = name.split("/") if name != "." else []
        found.append(make(drive, top, [*parts, *further]))
    return found


def _write(file: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, separators=(",", ":")).encode()
    with replacing(file) as temporary:
        temporary.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)


def _read(file: Path) -> dict[str, Any] | None:
    """What `_write` wrote; None where there is no such file, or a damaged one."""
    try:
        digest, _, text = file.read_bytes().partition(b"\n")
    except OSError:
        return None
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    content: dict[str, Any] = json.loads(text)
    return content
