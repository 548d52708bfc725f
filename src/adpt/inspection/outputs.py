"""The files of an inspection: tables, heatmaps over the pictures, a page."""

import csv
import heapq
import io
import json
import logging
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
from PIL import Image, ImageDraw

from adpt.data.files import images_in
from adpt.errors import BadImageError, UserError
from adpt.inspection.inputs import UnreadImage, make_smaller, picture_of
from adpt.inspection.inspection import Inspection
from adpt.inspection.inspector import Inspector
from adpt.inspection.page import MOST, Card, build_inspection_page, ranked
from adpt.inspection.rows import COLUMNS, Row
from adpt.nearest import slices
from adpt.page.plots import heatmap_of, outline
from adpt.running.names import file_name, printable, spreadsheet_cell
from adpt.running.paths import expanded
from adpt.running.whole_files import (
    is_full_disk,
    make_output_folder,
    mark_output,
    remove_leftovers,
    replacing,
)
from adpt.running.work_lock import at_work

log = logging.getLogger(__name__)

_HEATMAP = re.compile(r"heatmaps/\d{6,}_[\w.-]+\.(jpg|png)")
_FOLDER = "heatmaps"
_PARTIAL = "scores.partial.jsonl"
THUMBNAIL = 220
_QUALITY = 88
"""Of JPEG files."""
_LAID, _STRIP = 2**21, 2**16
"""Pixels of a heatmap whose scores are laid over the picture at a time, so that memory is bounded,
and that are coloured at a time, few enough for a processor's cache."""

Format = Literal["jpg", "png"]
_KINDS: dict[Format, str] = {"jpg": "JPEG", "png": "PNG"}
"""As Pillow calls them."""


class Outputs:
    """Writes each result as soon as it is there; to be used in a `with` statement.

    Files: `heatmaps/<number>_<name>` and `scores.partial.jsonl`, a line an image, as results come;
    at the end, in its stead and in the order of the results, `scores.csv` and `scores.jsonl`; and
    `index.html` once `write_page` is called. Each replaces that of an earlier run in the folder
    once it is whole, and then the earlier run's heatmaps are removed. Meanwhile other processes are
    kept out of the folder.

    Args:
        folder: Where the files go.
        inspectors: Where the results come from; of several, by product.
        heatmaps: Which images get a heatmap.
        image_format: Of the heatmaps.
        longest_side: Of the heatmaps, in pixels; None for the pictures' own size.

    Attributes:
        rows: Of the results so far.
        whole: To be set to False where more was to come: then the tables of an earlier run stay as
            they are, beside `scores.partial.jsonl`.
    """

    def __init__(
        self,
        folder: Path,
        inspectors: Inspector | Mapping[str, Inspector],
        heatmaps: Literal["all", "anomalous", "none"] = "all",
        image_format: Format = "jpg",
        longest_side: int | None = None,
    ) -> None:
        self.folder = folder
        self.inspectors = {"": inspectors} if isinstance(inspectors, Inspector) else inspectors
        self.heatmaps, self.image_format, self.longest_side = heatmaps, image_format, longest_side
        self.rows: list[Row] = []
        self.whole = True
        self._cards: list[tuple[float, int, bytes]] = []
        self._held = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as held:
            try:
                make_output_folder(self.folder)
                held.enter_context(at_work(self.folder))
                self._former = self._heatmaps_of("scores.jsonl")
                self._remove(self._heatmaps_of(_PARTIAL) - self._former)
                if self.heatmaps != "none":
                    self._make_heatmap_folder()
                partial = (self.folder / _PARTIAL).open("w", encoding="utf-8")
                self._lines = held.enter_context(partial)
            except OSError as error:
                raise UserError(f"Cannot write to {self.folder}: {error}.") from error
            self._held = held.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._held:
            self._lines.close()
            if kind is None and self.whole:
                self._write_tables()

    def add(
        self, result: Inspection | UnreadImage, product: str = "", drift: float | None = None
    ) -> Row:
        """Write one result.

        Args:
            result: The image.
            product: Whose inspector scored it; "" for the only one, or for none.
            drift: As of `Row`.

        Raises:
            UserError: A file cannot be written.
        """
        row = self._row(result, product, drift)
        try:
            self._lines.write(_line(row))
            self._lines.flush()
        except OSError as error:
            raise UserError(f"Cannot write to {self.folder}: {error}.") from error
        self.rows.append(row)
        return row

    def write_page(self, title: str) -> None:
        """Write `index.html`, of all results so far.

        Where these are not the whole, an earlier run's page stays, and it is `index.partial.html`.

        Raises:
            UserError: It cannot be written.
        """
        thumbnails = {number: data for _, number, data in self._cards}
        cards = [Card(row, n, thumbnails.get(n)) for n, row in enumerate(self.rows)]
        page, partial = self.folder / "index.html", self.folder / "index.partial.html"
        if self.whole:
            partial.unlink(missing_ok=True)
        elif page.exists():
            page = partial
        fitted_here = any(one.good_images is not None for one in self.inspectors.values())
        text = build_inspection_page(title, cards, self.inspectors, good_page=fitted_here)
        with replacing(page) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def _write_tables(self) -> None:
        """Put this run's tables in the place of an earlier one's, and remove that one's heatmaps.

        Raises:
            UserError: They cannot be written.
        """
        with (
            replacing(self.folder / "scores.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            for row in self.rows:
                table.writerow({k: spreadsheet_cell(v) for k, v in row.cells().items()})
        with (
            replacing(self.folder / "scores.jsonl") as temporary,
            temporary.open("w", encoding="utf-8") as file,
        ):
            file.writelines(map(_line, self.rows))
        (self.folder / _PARTIAL).unlink(missing_ok=True)
        self._remove(self._former - {row.heatmap for row in self.rows})

    def _heatmaps_of(self, table: str) -> set[str]:
        """The heatmaps that a table of an earlier run in the folder names."""
        path, found = self.folder / table, set()
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        for line in text.splitlines():
            try:
                name = json.loads(line)["heatmap"]
            # Cut off, or no table of ours.
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if isinstance(name, str) and _HEATMAP.fullmatch(name):
                found.add(name)
        return found

    def _remove(self, names: set[str]) -> None:
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def _make_heatmap_folder(self) -> None:
        """Make the folder of the heatmaps, marked, so that no run takes them for photographs."""
        folder = self.folder / _FOLDER
        foreign = [
            path for path in images_in(folder) if not _HEATMAP.match(f"{_FOLDER}/{path.name}")
        ]
        if foreign:
            log.warning(
                "%s and whatever else lies in %s is no input from now on: heatmaps go there",
                printable(foreign[0].name),
                folder,
            )
        mark_output(folder)
        remove_leftovers(folder)

    def _row(self, result: Inspection | UnreadImage, product: str, drift: float | None) -> Row:
        if isinstance(result, UnreadImage):
            path, error = printable(result.path), printable(result.error)
            log.warning("%s: %s", path, error)
            inspector = self.inspectors.get(product)
            threshold = None if inspector is None else inspector.threshold
            return Row.unread(path, error, threshold, product)
        name = self._heatmap(result, self.inspectors[product])
        path = printable(result.path or "")
        return Row.of(result, path, heatmap=name, product=product, drift=drift)

    def _heatmap(self, result: Inspection, inspector: Inspector) -> str:
        """Write the heatmap and keep a thumbnail; the heatmap's name, "" for none."""
        if result.path is None or self.heatmaps == "none":
            return ""
        number = len(self.rows)
        wanted = self.heatmaps == "all" or result.anomalous
        rank = ranked(result.score, result.threshold)
        shown = len(self._cards) < MOST or rank > self._cards[0][0]
        if not wanted and not shown:
            return ""
        try:
            picture = picture_under(result, inspector, self.longest_side)
        except BadImageError:  # Gone since it was scored.
            return ""
        normal_map = inspector.settings.normal_map
        if shown:
            keep = heapq.heappush if len(self._cards) < MOST else heapq.heappushpop
            keep(self._cards, (rank, number, thumbnail(picture, result, normal_map)))
        if not wanted:
            return ""
        rendered = heatmap_over(picture, result, normal_map)
        # Names of files in different folders may be the same.
        name = f"{_FOLDER}/{number:06d}_{file_name(Path(result.path).stem)}.{self.image_format}"
        try:
            with replacing(self.folder / name) as temporary:
                kind = _KINDS[self.image_format]
                rendered.save(temporary, format=kind, quality=_QUALITY)
        except (UserError, ValueError) as error:
            if is_full_disk(error):
                raise
            log.warning("The heatmap of %s is left out: %s", printable(result.path), error)
            return ""
        return name


def picture_under(
    result: Inspection, inspector: Inspector, longest_side: int | None
) -> Image.Image:
    """The picture of an inspected file for its heatmap: the copy that was kept, or read anew.

    Raises:
        BadImageError: It cannot be read any more.
    """
    if result.picture is not None:
        return result.picture
    picture = picture_of(expanded(str(result.path)), inspector.geometry.rules)
    make_smaller(picture, longest_side)
    return picture


def _line(row: Row) -> str:
    return json.dumps(row.as_dict()) + "\n"


def heatmap_over(
    picture: Image.Image, result: Inspection, normal_map: tuple[float, float]
) -> Image.Image:
    """The score map over the picture, RGB, of the picture's size.

    The colours are one scale for all images of a model: dark up to the median of left-out normal
    images, half way at the highest score that a pixel has in them. Defect regions are outlined.

    Args:
        picture: As it was scored, or smaller.
        result: Its scores.
        normal_map: Median and highest score of a pixel in normal images.
    """
    median, highest = normal_map
    width, height = picture.size
    rendered = Image.new("RGB", picture.size)
    for rows in slices(height, _LAID // width):
        scores = result.map_at((height, width), median, rows)
        for few in slices(len(scores), _STRIP // width):
            top = rows.start + few.start
            seen = picture.crop((0, top, width, top + len(scores[few])))
            rendered.paste(heatmap_of(seen, scores[few], median, 2 * highest - median), (0, top))
    if result.regions:
        _outline_regions(rendered, result)
    return rendered


def _outline_regions(rendered: Image.Image, result: Inspection) -> None:
    mask = Image.new("L", rendered.size)
    across, down = rendered.width / result.size[1], rendered.height / result.size[0]
    for region in result.regions:
        corners = [(x * across, y * down) for x, y in region.outline]
        ImageDraw.Draw(mask).polygon(corners, fill=1)
    if (box := mask.getbbox()) is None:
        return
    width = max(1, round(max(rendered.size) / 500))
    # All that changes lies no farther than a line's width from the regions.
    left, top = max(0, box[0] - width), max(0, box[1] - width)
    box = (left, top, min(rendered.width, box[2] + width), min(rendered.height, box[3] + width))
    inside = np.asarray(mask.crop(box))
    outlined = outline(np.asarray(rendered.crop(box)), inside, width=width)
    rendered.paste(Image.fromarray(outlined), box)


def thumbnail(picture: Image.Image, result: Inspection, normal_map: tuple[float, float]) -> bytes:
    """Picture and heatmap side by side, as a small JPEG; arguments as of `heatmap_over`."""
    small = picture.copy()
    make_smaller(small, THUMBNAIL)
    sheet = Image.new("RGB", (small.width * 2, small.height))
    sheet.paste(small, (0, 0))
    sheet.paste(heatmap_over(small, result, normal_map), (small.width, 0))
    return encoded(sheet)


def encoded(picture: Image.Image, image_format: Format = "jpg") -> bytes:
    """The content of a picture's file."""
    content = io.BytesIO()
    picture.save(content, format=_KINDS[image_format], quality=_QUALITY)
    return content.getvalue()
