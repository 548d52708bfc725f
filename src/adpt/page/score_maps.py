"""The panels that an evaluation left, embedded in the page."""

import base64
import io
from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from adpt.errors import UserError

_MOST = 240
"""In the whole page, about 15 MB; then each class shows fewer."""
_WIDTH = 960
_QUALITY = 82

# Heading, start of its panels' names, and how many of a class are shown; the first that fits.
_GROUPS = (
    ("False alarm, or nearest to one", "worst_normal", 2),
    ("Missed, or nearest to it", "worst_", 2),
    ("Well found", "best_", 2),
    ("Normal", "normal", 2),
    ("Anomalous", "", 4),
)
_ORDER = (1, 0, 2, 4, 3)


class Embedded(NamedTuple):
    """A picture as it lies in the page: a JPEG in Base64."""

    name: str
    alt: str
    data: str
    width: int
    height: int


class ClassMaps(NamedTuple):
    """Some of a class's panels under their headings, "" where none is needed."""

    class_name: str
    groups: list[tuple[str, list[Embedded]]]
    number: int
    total: int


def section(folders: Sequence[Path]) -> list[tuple[str, list[ClassMaps]]]:
    """Panels by data set and method, class by class.

    Args:
        folders: Hold `heatmaps/<data set>/<class>/<method>/<name>.png`. Names that begin with
            `worst_normal` are of false alarms, `worst_` of missed defects, `best_` of well found
            ones, `normal` of other normal images.

    Raises:
        UserError: A picture cannot be read.
    """
    blocks: dict[tuple[Path, str, str], dict[str, list[Path]]] = {}
    for folder in folders:
        for path in sorted(folder.glob("heatmaps/*/*/*/*.png")):
            dataset, class_name, method = path.parts[-4:-1]
            classes = blocks.setdefault((folder, dataset, method), {})
            classes.setdefault(class_name, []).append(path)
    # Where there are more classes than pictures may be, the last ones show none.
    left, budget = _MOST, max(1, _MOST // max(1, sum(map(len, blocks.values()))))
    several = len({folder for folder, _, _ in blocks}) > 1
    shown: list[tuple[str, list[ClassMaps]]] = []
    for (folder, dataset, method), classes in blocks.items():
        title = f"{dataset} · {method}" + (f" ({folder.name})" if several else "")
        shown.append((title, []))
        for name, paths in sorted(classes.items()):
            shown[-1][1].append(_class(name, paths, min(budget, left)))
            left = max(0, left - budget)
    return shown


def _class(name: str, paths: Sequence[Path], budget: int) -> ClassMaps:
    groups: list[list[Path]] = [[] for _ in _GROUPS]
    for path in paths:
        place = next(i for i, (_, start, _) in enumerate(_GROUPS) if path.stem.startswith(start))
        groups[place].append(path)
    ordered = [groups[place][: _GROUPS[place][2]] for place in _ORDER]
    # By turns, so that a small budget shows some of each.
    by_turns = [path for path in chain(*zip_longest(*ordered)) if path is not None][:budget]
    extremes = any(path.stem.startswith(("worst_", "best_")) for path in paths)
    found = [
        (_GROUPS[place][0] if extremes else "", [_embedded(p) for p in group if p in by_turns])
        for place, group in zip(_ORDER, ordered, strict=True)
    ]
    return ClassMaps(name, [one for one in found if one[1]], len(by_turns), len(paths))


def _embedded(path: Path) -> Embedded:
    buffer = io.BytesIO()
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except OSError as error:
        raise UserError(
            f"Cannot read the picture {path}: {error}. Delete it or evaluate its class again."
        ) from error
    picture.thumbnail((_WIDTH, _WIDTH))
    # Full colour resolution: thin coloured outlines would bleed otherwise.
    picture.save(buffer, format="JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    alt = f"{' '.join(path.parts[-4:-1])}: {path.stem}"
    return Embedded(path.stem, alt, data, picture.width, picture.height)
