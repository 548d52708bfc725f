"""Files in a set's folder that are left out, and why: remarks, for it may be meant so."""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from adpt.data.files import NOT_READ, is_hidden, is_image
from adpt.data.finding import Finding
from adpt.running.whole_files import OUTPUT_MARK


def left_out(
    top: Path, class_name: str, used: Collection[Path] | None, unmeant: Collection[str] = ()
) -> Iterator[Finding]:
    """Find what is left out in a folder and those within it, linked ones apart.

    Args:
        top: The folder.
        class_name: The product.
        used: Images and masks that are used, and whatever is told already; None where images that
            no list names are told elsewhere.
        unmeant: Names, in lower case, of folders that are left alone on purpose.
    """
    paths = _entries(top)
    remark = partial(Finding, "left out", class_name=class_name, fault=False)
    names = [path.name for path in paths if not path.is_dir()]
    if OUTPUT_MARK in names:
        yield from left_out_whole(top, class_name)
        return
    hidden = [name for name in names if is_hidden(name) and is_image(name.lstrip("."))]
    if hidden:
        message = f"holds {_counted(hidden, 'hidden file')} named like images, left out."
        yield remark(top, message)
    other = Counter(
        ending for name in names if (ending := name.rpartition(".")[2].lower()) in NOT_READ
    )
    if other:
        types = ", ".join(f"{ending}: {count}" for ending, count in sorted(other.items()))
        yield remark(top, f"holds pictures of types that are not read ({types}): convert them.")
    images = [top / name for name in names if is_image(name)]
    unused = [i.name for i in images if used is not None and i.is_file() and i not in used]
    if unused:
        message = f"holds {_counted(unused, 'image')} in no place that the layout knows, left out."
        yield Finding("unused", top, message, class_name, False)
    for path in images:
        if path.exists() and not path.is_file():
            yield Finding("unreadable", path, "is no ordinary file: remove it.", class_name)
    for path in paths:
        if path.is_symlink() or not path.is_dir() or path.name.lower() in unmeant:
            continue
        if is_hidden(path.name):
            yield from left_out_whole(path, class_name)
        elif used is None or path not in used:
            yield from left_out(path, class_name, used, unmeant)


def left_out_whole(folder: Path, class_name: str = "") -> Iterator[Finding]:
    """Tell of a folder that is left out with all that it holds."""
    if holds_images(folder):
        hidden = "hidden folders and those of systems hold no data"
        why = hidden if is_hidden(folder.name) else f"adpt wrote it ({OUTPUT_MARK} lies in it)"
        yield Finding("left out", folder, f"is left out: {why}.", class_name, False)


def holds_images(folder: Path) -> bool:
    """True if any file below a folder is named like an image."""
    return any(is_image(name.lstrip(".")) for _, _, names in os.walk(folder) for name in names)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # Said by whoever lists the class's images.
        return []


def _counted(names: list[str], what: str) -> str:
    if len(names) == 1:
        return f"1 {what} ({names[0]})"
    return f"{len(names)} {what}s (the first: {names[0]})"
