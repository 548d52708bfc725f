"""The page of the good images by score, on which a bad one among them is seen."""

from pathlib import Path

from PIL import Image

from adpt.errors import BadImageError, UserError
from adpt.inspection.good_images import GoodImages
from adpt.inspection.inputs import picture_of
from adpt.inspection.inspection import Inspection, LaidBack
from adpt.inspection.inspector import Inspector
from adpt.inspection.outputs import thumbnail
from adpt.inspection.page import Card, build_inspection_page
from adpt.inspection.rows import Row
from adpt.running.names import printable
from adpt.running.whole_files import make_output_folder, replacing
from adpt.windows import Size

NAME = "good.html"
_SHOWN = 100
"""Good images with a picture, those of the highest scores."""


def write_good_page(folder: Path, inspector: Inspector, good: GoodImages) -> None:
    """Write `good.html`, of the images that a threshold was found from.

    Raises:
        UserError: It cannot be written.
    """
    order = good.scores.image.argsort(descending=True).tolist()
    cards = [_card(inspector, good, row, rank < _SHOWN) for rank, row in enumerate(order)]
    note = "Good images, each scored as if it had not been fitted on."
    page = build_inspection_page("Good images", cards, inspector, [note, *good.remarks])
    try:
        make_output_folder(folder)
    except OSError as error:
        raise UserError(f"Cannot write to {folder}: {error}.") from error
    with replacing(folder / NAME) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _picture(path: str, inspector: Inspector, good: GoodImages) -> tuple[Image.Image, Size]:
    """A good image's picture, or the copy that was kept, and the picture's height and width."""
    if path in good.copies:
        return good.copies[path]
    picture = picture_of(Path(path), inspector.geometry.rules)
    return picture, (picture.height, picture.width)


def _card(inspector: Inspector, good: GoodImages, row: int, shown: bool) -> Card:
    score, path = float(good.scores.image[row]), good.paths[row]
    found = (score, inspector.normalised(score), score > inspector.threshold, inspector.threshold)
    sheet = None
    if shown:
        try:
            picture, size = _picture(path, inspector, good)
            laid = LaidBack(inspector.geometry, good.scores.maps[row], size)
            result = Inspection(path, score, found[2], found[3], laid)
            sheet = thumbnail(picture, result, inspector.settings.normal_map)
        except BadImageError:  # Gone since it was scored.
            pass
    return Card(Row(printable(path), *found), row, sheet)
