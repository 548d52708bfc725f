"""Links that lead in a circle or nowhere, found without following them for ever."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from adpt.data.files import is_folder, is_hidden, is_image, leads_up
from adpt.data.finding import Finding

Identity = tuple[int, int]


def faulty_links(root: Path, classes: Sequence[Path]) -> Iterator[Finding]:
    """Find faulty links directly in `root` and anywhere below the folders of classes.

    A linked folder is entered once, and never below itself. Links named like images are left to
    whoever reads the images.
    """
    top = _identity(root)
    for link in sorted(entry for entry in _folder(root) if entry.is_symlink()):
        fault = None if link in classes else _fault_of(link, {top})
        if fault:
            yield fault
    entered: set[Identity] = set()
    for folder in classes:
        for finding in _walk(folder, {top}, entered):
            yield replace(finding, class_name=folder.name)


def _walk(folder: Path, above: set[Identity], entered: set[Identity]) -> Iterator[Finding]:
    fault = _fault_of(folder, above)
    if fault:
        yield fault
        return
    here = _identity(folder)
    if here in entered:
        return
    entered.add(here)
    for path in _folder(folder):
        fault = _fault_of(path, above | {here}) if path.is_symlink() else None
        if fault:
            yield fault
        else:
            yield from _walk(path, above | {here}, entered)


def _folder(folder: Path) -> list[Path]:
    """The folders and links in a folder, less links to files that are named like images."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                folder / entry.name
                for entry in entries
                if not is_hidden(entry.name)
                and (is_folder(entry) or (entry.is_symlink() and not is_image(entry.name)))
            )
    except OSError:  # Said by whoever lists the class's images.
        return []


def _fault_of(path: Path, above: set[Identity]) -> Finding | None:
    try:
        identity = _identity(path)
    except FileNotFoundError:
        return Finding("broken link", path, f"leads to {path.readlink()}, which is not there.")
    except OSError:
        return Finding("link loop", path, "is a link that leads back to itself: remove it.")
    if identity in above or leads_up(path):
        return Finding("link loop", path, f"leads back to {path.resolve()}: remove the link.")
    return None


def _identity(path: Path) -> Identity:
    status = path.stat()
    return status.st_dev, status.st_ino
