"""Listing folders quickly: no file is opened or asked for more than its name.

One rule for all sets, commands and options. Hidden files and folders, folders that systems make for
themselves, and adpt's own results are left out; a folder is a folder and a pipe is no image,
whatever they are called. Names are compared in Unicode's composed form.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from adpt.errors import DataError, OutsideError
from adpt.running.names import composed, printable
from adpt.running.whole_files import OUTPUT_MARK, is_output

EXTENSIONS = frozenset({"png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"})

NOT_READ = frozenset({
    "arw", "avif", "cr2", "cr3", "dng", "gif", "heic", "heif", "jfif", "jp2", "jxl", "nef", "pbm",
    "pgm", "pnm", "ppm", "psd", "raw", "svg",
})  # fmt: skip
"""Endings of images that are not read."""

SYSTEM_FOLDERS = frozenset({
    "$extend", "$recycle.bin", "#recycle", "#snapshot", "@__thumb", "@eadir", "@recently-snapshot",
    "@recycle", "@sharebin", "@tmp", "__macosx", "__pycache__", "found.000", "lost+found",
    "network trash folder", "recycled", "recycler", "system volume information", "temporary items",
    "thevolumesettingsfolder", "~snapshot",
})  # fmt: skip
"""Folders that operating systems, network storage and archives make, in lower case."""


def is_image(name: str) -> bool:
    """True if a file's name says it is an image; hidden files are none."""
    stem, _, ending = name.rpartition(".")
    return stem != "" and ending.lower() in EXTENSIONS and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """True if a file or folder is none of the user's, by its name."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def matching(pattern: Path) -> list[Path]:
    """The image files that a pattern names, sorted.

    `*`, `?` and `[...]` may stand in every part, `**` for folders at any depth. A part that is the
    name of something there means that, whatever characters it has. What is hidden is left out where
    a pattern stands for it.
    """
    start = Path(pattern.anchor)
    return sorted(set(_matching(start, pattern.relative_to(start).parts)))


def refuse_output(folder: Path, option: str) -> None:
    """Refuse a folder of adpt's own results where an option wants images.

    Raises:
        DataError: It is one.
    """
    if is_output(folder):
        raise DataError(
            f"{option}={folder}: adpt wrote its results there, and what adpt wrote is never input."
            f" Give the folder of your own images; if they lie there, remove {OUTPUT_MARK} from it."
        )


def images_in(folder: Path) -> list[Path]:
    """Image files directly in a folder, sorted by name; none where there is no such folder."""
    return [folder / entry.name for entry in _entries(folder) if _is_image_file(entry)]


def images_below(folder: Path) -> list[Path]:
    """Image files in a folder and the folders in it, in a fixed order."""
    return [here / name for here, names in walk_files(folder) for name in names]


def subfolders(folder: Path) -> list[Path]:
    """Folders directly in a folder, sorted by name; none where there is no such folder.

    Links to folders above are left out.
    """
    found = [folder / entry.name for entry in _entries(folder) if is_folder(entry)]
    return [path for path in found if not is_output(path) and not leads_up(path)]


def folders_by_name(folder: Path) -> dict[str, Path]:
    """Folders directly in a folder by name, as text that can be written anywhere.

    Raises:
        DataError: Two of them have names that look alike.
    """
    return _by_name(subfolders(folder), lambda name: name)


def folders_in_any_case(folder: Path) -> dict[str, Path]:
    """As `folders_by_name`, the names in lower case.

    Raises:
        DataError: The names of two differ in nothing but case.
    """
    return _by_name(subfolders(folder), str.casefold)


def folder_in_any_case(parent: Path, name: str) -> Path:
    """A folder of a name, whatever its case; `parent / name` where there is none.

    Raises:
        DataError: There are two.
    """
    return folders_in_any_case(parent).get(name.casefold(), parent / name)


def name_key(name: str) -> str:
    """The form of names that files and classes are compared by, and classes and defects called."""
    return printable(composed(name))


def walk_files(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder under `folder`, itself included, with the sorted names of its image files.

    Linked folders are followed, but not upwards, and each folder is entered once only, so that
    links in a circle come to an end.
    """
    waiting, seen = [folder], set()
    while waiting:
        here = waiting.pop()
        try:
            status = here.stat()
        except OSError:  # No such folder, or a link that leads nowhere.
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        names, folders = [], []
        for entry in _entries(here):
            if is_folder(entry):
                if not leads_up(here / entry.name):
                    folders.append(here / entry.name)
            elif _is_image_file(entry):
                names.append(entry.name)
        yield here, names
        waiting += reversed(folders)


def leads_up(folder: Path) -> bool:
    """True if a folder is a link to one that the link itself lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def on_disk(paths: Iterable[Path]) -> dict[Path, Path]:
    """Those of the files that are there, each with its path as the disk has it.

    A list may write names in another Unicode form, or an extension in another case. Each folder is
    listed once. What is no ordinary file is not there.
    """
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        by_folder[path.parent].append(path)
    found = {}
    for folder, wanted in by_folder.items():
        there = folder_on_disk(folder)
        if there is None:
            continue
        names = {entry.name for entry in _entries(there) if not _is_no_file(entry)}
        alike: dict[tuple[str, str], list[str]] = defaultdict(list)
        for path in wanted:
            if path.name in names:
                found[path] = path if there is folder else there / path.name
                continue
            if not alike:
                for name in names:
                    alike[_file_key(name)].append(name)
            if len(same := alike.get(_file_key(path.name), [])) == 1:
                found[path] = there / same[0]
    return found


def folder_on_disk(folder: Path) -> Path | None:
    """A folder as the disk has it, in whatever Unicode form; None where there is none, or two."""
    if folder.is_dir():
        return folder
    parent = None if folder.parent == folder else folder_on_disk(folder.parent)
    if parent is None:
        return None
    alike = [f for f in subfolders(parent) if composed(f.name) == composed(folder.name)]
    return alike[0] if len(alike) == 1 else None


def listed_file(root: Path, relative: str, source: Path) -> Path:
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


def _matching(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    first, rest = parts[0], parts[1:]
    literal = folder / first
    if not rest:
        if first == "**":
            yield from images_below(folder)
        elif literal.is_file():
            yield from [literal] if is_image(first) and not is_output(folder) else []
        else:
            yield from (image for image in images_in(folder) if _fits(image.name, first))
    elif first == "**":
        for here, _ in walk_files(folder):
            yield from _matching(here, rest)
    elif literal.is_dir():
        yield from _matching(literal, rest)
    else:
        for subfolder in subfolders(folder):
            if _fits(subfolder.name, first):
                yield from _matching(subfolder, rest)


def _fits(name: str, pattern: str) -> bool:
    """True if a name fits a pattern, whose brackets may be meant as they stand."""
    return any(fnmatch(composed(name), composed(p)) for p in (pattern, pattern.replace("[", "[[]")))


def _by_name(folders: Iterable[Path], change: Callable[[str], str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        other = found.setdefault(change(name_key(folder.name)), folder)
        if other != folder:
            raise DataError(
                f"{other} and {folder} have names that differ in case or Unicode form alone: rename"
                " one of them, or put their files together."
            )
    return found


def _file_key(name: str) -> tuple[str, str]:
    stem, _, ending = composed(name).rpartition(".")
    return stem, ending.lower()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder, less hidden ones; none where adpt writes its results."""
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"The folder {folder} cannot be listed: {error.strerror}.") from error
    if any(entry.name == OUTPUT_MARK for entry in found):
        return []
    found = [entry for entry in found if not is_hidden(entry.name)]
    return sorted(found, key=lambda entry: entry.name)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """True if an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # A link to itself.
        return False


def _is_image_file(entry: os.DirEntry[str]) -> bool:
    return is_image(entry.name) and not _is_no_file(entry)


def _is_no_file(entry: os.DirEntry[str]) -> bool:
    """True if an entry is a folder, a pipe or the like; a link that leads nowhere may be a file."""
    try:
        return not entry.is_file() and (not entry.is_symlink() or Path(entry.path).exists())
    except OSError:  # A link to itself.
        return False
