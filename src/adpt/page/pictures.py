"""The panels that an evaluation drew, embedded in the page."""

import base64
import io
from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path

from PIL import Image

from adpt.errors import UserError
from adpt.page.markup import Markup, join, tag

_MOST = 240
"""In the whole page, about 15 MB; then each class shows fewer."""
_UNFOLDED = 4
_WIDTH = 960
_QUALITY = 82

_NOTE = (
    "In each panel from left to right what its captions say, as a rule the image, its mask, and the"
    " score maps with own and with pretrained features. Each kind of map is scaled by its own"
    " quantiles over all test maps of the class: brightness compares places and images within one"
    " kind, not own with pretrained."
)

# Name, what its panels' names begin with, and how many of a class are shown. The first that fits.
_GROUPS = (
    ("False alarm, or nearest to one", "worst_normal", 2),
    ("Missed, or nearest to it", "worst_", 2),
    ("Well found", "best_", 2),
    ("Normal", "normal", 2),
    ("Anomalous", "", 4),
)
_ORDER = (1, 0, 2, 4, 3)

Groups = list[list[Path]]
"""Panels of each of `_GROUPS`, in the order of `_ORDER`."""


def section(folders: Sequence[Path]) -> Markup:
    """Panels by data set, method and class; nothing where there are none.

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
    if not blocks:
        return Markup()
    # Where there are more classes than pictures may be, the last ones show none.
    left, budget = _MOST, max(1, _MOST // sum(map(len, blocks.values())))
    state = {"open": ""} if len(blocks) <= _UNFOLDED else {}
    several = len({folder for folder, _, _ in blocks}) > 1
    parts = []
    for (folder, dataset, method), classes in blocks.items():
        where = f" ({folder.name})" if several else ""
        title = tag("summary", f"{dataset} · {method}{where}")
        budgets = [min(budget, max(0, left - number * budget)) for number in range(len(classes))]
        left -= sum(budgets)
        parts.append(tag("details", title, *_classes(classes, budgets), **state))
    return tag("section", tag("h2", "Score maps"), tag("p", _NOTE, class_="note"), *parts)


def _classes(classes: dict[str, list[Path]], budgets: Sequence[int]) -> list[Markup]:
    parts = []
    for (name, paths), budget in zip(sorted(classes.items()), budgets, strict=True):
        figures = _figures(paths, budget)
        if len(classes) <= 2:
            parts.append(join([tag("h4", name), *figures]))
        else:
            parts.append(tag("details", tag("summary", name), *figures))
    return parts


def _figures(paths: Sequence[Path], budget: int) -> list[Markup]:
    groups = _grouped(paths)
    # By turns, so that a small budget shows some of each.
    by_turns = [path for path in chain(*zip_longest(*groups)) if path is not None][:budget]
    extremes = any(path.stem.startswith(("worst_", "best_")) for path in paths)
    parts = []
    for place, group in zip(_ORDER, groups, strict=True):
        shown = [path for path in group if path in by_turns]
        figures = [
            tag("figure", tag("div", _image(path), class_="scroll"), tag("figcaption", path.stem))
            for path in shown
        ]
        if figures and extremes:
            parts.append(tag("h5", _GROUPS[place][0]))
        if figures:
            parts.append(tag("div", *figures, class_="figures"))
    if len(by_turns) < len(paths):
        parts.append(tag("p", f"{len(by_turns)} of {len(paths)} panels.", class_="note"))
    return parts


def _grouped(paths: Sequence[Path]) -> Groups:
    groups: Groups = [[] for _ in _GROUPS]
    for path in paths:
        place = next(i for i, (_, start, _) in enumerate(_GROUPS) if path.stem.startswith(start))
        groups[place].append(path)
    return [groups[place][: _GROUPS[place][2]] for place in _ORDER]


def _image(path: Path) -> Markup:
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
    name = " ".join(path.parts[-4:-1])
    return Markup(
        tag(
            "img",
            src=f"data:image/jpeg;base64,{data}",
            alt=f"{name}: {path.stem}",
            width=picture.width,
            height=picture.height,
            loading="lazy",
        ).removesuffix("</img>")
    )
