"""The panels that an evaluation drew, embedded in the page."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from adpt.errors import UserError
from adpt.page.markup import Markup, join, tag

_ANOMALOUS, _NORMAL = 4, 2
_WIDTH = 960
_QUALITY = 82

_NOTE = (
    "In each panel from left to right what its captions say, as a rule the image, its mask, and the"
    " score maps with own and with pretrained features. Each kind of map is scaled by its own"
    " quantiles over all test maps of the class: brightness compares places and images within one"
    " kind, not own with pretrained."
)


def section(folder: Path) -> Markup:
    """Panels by data set, method and class; nothing where there are none.

    Args:
        folder: Holds `<data set>/<class>/<method>/<name>.png`; names that begin with `normal` are
            of normal images.

    Raises:
        UserError: A picture cannot be read.
    """
    groups: dict[tuple[str, str], dict[str, list[Path]]] = {}
    for path in sorted(folder.glob("*/*/*/*.png")):
        dataset, class_name, method = path.relative_to(folder).parts[:3]
        groups.setdefault((dataset, method), {}).setdefault(class_name, []).append(path)
    if not groups:
        return Markup()
    blocks = [
        tag("details", tag("summary", f"{dataset} · {method}"), *_classes(classes), open="")
        for (dataset, method), classes in groups.items()
    ]
    return tag("section", tag("h2", "Score maps"), tag("p", _NOTE, class_="note"), *blocks)


def _classes(classes: dict[str, list[Path]]) -> list[Markup]:
    return [join([tag("h4", name), _figures(paths)]) for name, paths in sorted(classes.items())]


def _figures(paths: Sequence[Path]) -> Markup:
    normal = [path for path in paths if path.stem.startswith("normal")]
    anomalous = [path for path in paths if path not in normal]
    shown = [*anomalous[:_ANOMALOUS], *normal[:_NORMAL]]
    figures = [
        tag("figure", tag("div", _image(path), class_="scroll"), tag("figcaption", path.stem))
        for path in shown
    ]
    if len(shown) < len(paths):
        figures.append(tag("p", f"{len(shown)} of {len(paths)} panels.", class_="note"))
    return tag("div", *figures, class_="figures")


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
