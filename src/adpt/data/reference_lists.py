"""Lists that name reference images, as the authors of ADPretrain publish them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from adpt.data.files import walk_files
from adpt.data.sample import Sample
from adpt.errors import DataError


class ReferenceLists:
    """Names of reference images by class, from files and folders.

    Each place is one of these, and several may be given together:

    - a JSON file, a class to its list, `{"bottle": ["bottle/train/good/000.png", ...]}`;
    - a folder of JSON files, `<class>.json`, each such a list or, for aligned references, an image
      to its list, `{"…/bottle/test/good/000.png": ["…/bottle/train/good/012.png", ...]}`, as in
      the authors' `aligned/references/<set>`;
    - a folder of copies of the images, `<class>/…/<name>`, as the authors' `8shot/<set>`: an image
      is known by its name.

    Of a folder that holds one for each set, that of `set_name` is taken. Paths of a list count from
    the class on, so that it matters nowhere where the set lay.

    Args:
        places: Files and folders.
        set_name: The set that is evaluated.

    Raises:
        DataError: A place is missing, or is none of these.
    """

    def __init__(self, places: Sequence[str | Path], set_name: str = "") -> None:
        self.fixed: dict[str, list[str]] = {}
        self.aligned: dict[str, dict[str, list[str]]] = {}
        for place in map(Path, places):
            of_set = place / set_name
            self._read(of_set if of_set.is_dir() else place)

    def of_class(self, class_name: str, normal: Sequence[Sample]) -> list[str] | None:
        """The references of a class, as paths of its images; None where no list names them.

        Raises:
            DataError: One is no normal training image of the class.
        """
        listed = self.fixed.get(class_name)
        return None if listed is None else _Known(class_name, normal).find(listed)

    def of_images(
        self, class_name: str, normal: Sequence[Sample], images: Iterable[Sample]
    ) -> dict[str, list[str]] | None:
        """The references of each listed image of a class; None where the class has no such list.

        Raises:
            DataError: One is no normal training image of the class.
        """
        listed = self.aligned.get(class_name)
        if listed is None:
            return None
        known, targets = _Known(class_name, normal), _Known(class_name, list(images))
        return {
            path: known.find(names)
            for image, names in listed.items()
            if (path := targets.path(image)) is not None
        }

    def _read(self, place: Path) -> None:
        if place.is_file():
            content = _json(place)
            if not isinstance(content, Mapping):
                raise DataError(f"{place} holds no list of references by class.")
            for name, value in content.items():
                self._take(str(name), value, place)
        elif not place.is_dir():
            raise DataError(f"reference_lists={place} is not there.")
        elif files := sorted(place.glob("*.json")):
            for file in files:
                self._take(file.stem, _json(file), file)
        else:
            copies: dict[str, list[str]] = {}
            for folder, names in walk_files(place):
                parts = Path(folder).relative_to(place).parts
                if parts:
                    copies.setdefault(parts[0], []).extend(sorted(names))
            if not copies:
                raise DataError(f"reference_lists={place} holds neither lists nor images.")
            self.fixed |= copies

    def _take(self, class_name: str, value: Any, file: Path) -> None:
        if _is_list(value):
            self.fixed[class_name] = value
        elif isinstance(value, Mapping) and value and all(map(_is_list, value.values())):
            self.aligned[class_name] = dict(value)
        else:
            raise DataError(f"{file} holds no list of references of class '{class_name}'.")


class _Known:
    """Images of a class, to be found by the ends of their paths."""

    def __init__(self, class_name: str, samples: Sequence[Sample]) -> None:
        self.class_name = class_name
        self.by_end: dict[tuple[str, ...], list[str]] = {}
        for sample in samples:
            parts = sample.image.parts
            for start in range(1, len(parts)):
                self.by_end.setdefault(parts[start:], []).append(str(sample.image))

    def path(self, name: str) -> str | None:
        """The one image whose path ends as a name does, from the class on or from its beginning."""
        parts = PurePosixPath(name).parts
        product = self.class_name.rpartition("/")[2]
        last = max((at for at, part in enumerate(parts) if part == product), default=0)
        ends = (self.by_end.get(parts[start:], []) for start in range(last + 1))
        found = next((paths for paths in ends if paths), [])
        return found[0] if len(found) == 1 else None

    def find(self, names: Sequence[str]) -> list[str]:
        paths = [self.path(name) for name in names]
        if missing := [name for name, path in zip(names, paths, strict=True) if path is None]:
            raise DataError(
                f"{len(missing)} listed references of class '{self.class_name}' are no normal"
                f" training images of it, the first: {missing[0]}."
            )
        return [path for path in paths if path is not None]


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(v, str) for v in value)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no readable JSON file: {error}") from error
