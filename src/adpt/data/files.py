"""Listing folders quickly: no file is opened or asked for more than its name."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from adpt.data.watch import look_at
from adpt.errors import DataError, OutsideError

EXTENSIONS = frozenset({"png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"})


def is_image(name: str) -> bool:
    """Whether a file's name says it is an image; hidden files are none."""
    return name.rpartition(".")[2].lower() in EXTENSIONS and not name.startswith(".")


def images_in(folder: Path) -> list[Path]:
    """Image files directly in a folder, sorted by name; none where there is no such folder."""
    return [folder / entry.name for entry in _entries(folder) if is_image(entry.name)]


def subfolders(folder: Path) -> list[Path]:
    """Folders directly in a folder, sorted by name; none where there is no such folder."""
    return [folder / entry.name for entry in _entries(folder) if _is_folder(entry)]


def walk_files(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder under `folder`, itself included, with the sorted names of its image files.

    Linked folders are followed, but not upwards, and each folder is entered once only, so that
    links in a circle come to an end.
    """
    waiting, seen = [folder], set()
    while waiting:
        here = waiting.pop()
        look_at(here)
        try:
            status = here.stat()
        except OSError:  # No such folder, or a link that leads nowhere.
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        names, folders = [], []
        for entry in _entries(here):
            if is_image(entry.name):
                names.append(entry.name)
            elif _is_folder(entry) and not leads_up(here / entry.name):
                folders.append(here / entry.name)
        yield here, names
        waiting += reversed(folders)


def leads_up(folder: Path) -> bool:
    """Whether a folder is a link to one that the link itself lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def missing_files(paths: Iterable[Path]) -> list[Path]:
    """Those of the files that are not on disk; each folder is listed once."""
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        by_folder[path.parent].append(path)
    missing = []
    for folder, wanted in by_folder.items():
        there = {entry.name for entry in _entries(folder)}
        missing += [path for path in wanted if path.name not in there]
    return missing


def inside(root: Path, relative: str, source: Path) -> Path:
    """A file that a list names relative to `root`.

    Raises:
        OutsideError: The path is absolute or leads out of `root`; the message names `source`.
    """
    path = PurePosixPath(relative.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise OutsideError(
            f"{source} lists '{relative}': paths there must be relative and stay inside {root}."
        )
    return root.joinpath(*path.parts)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    look_at(folder)
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"The folder {folder} cannot be listed: {error.strerror}.") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    if entry.is_symlink():
        look_at(Path(entry.path))  # Where it leads may come and go without it.
    try:
        return entry.is_dir()
    except OSError:  # A link to itself.
        return False
