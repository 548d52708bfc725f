"""The files of an inspection: tables, heatmaps over the pictures, a page."""

import csv
import heapq
import io
import json
import logging
import re
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from adpt.data.files import images_in
from adpt.errors import BadImageError, UserError
from adpt.inspection.inputs import UnreadImage, picture_of
from adpt.inspection.inspector import Inspection, Inspector
from adpt.inspection.page import MOST, Card, build_page
from adpt.inspection.rows import COLUMNS, Row
from adpt.page.plots import Picture, heatmap, outline
from adpt.running.files import is_full_disk, make_output_folder, mark_output, replacing
from adpt.running.names import file_name, printable, spreadsheet_cell
from adpt.running.paths import expanded

log = logging.getLogger(__name__)

_HEATMAP = re.compile(r"heatmaps/\d{6,}_[\w.-]+\.(jpg|png)")
_FOLDER = "heatmaps"
_THUMBNAIL = 220
_QUALITY = 88


class Outputs:
    """Writes each result as soon as it is there; to be used in a `with` statement.

    Files: `scores.csv` and `scores.jsonl`, a line an image, in the order of the results;
    `heatmaps/<number>_<name>`; and `index.html` once `write_page` is called. They replace those of
    an earlier run in the folder, whose heatmaps are removed.

    Args:
        folder: Where the files go.
        inspector: Where the results come from.
        heatmaps: Which images get a heatmap.
        image_format: Of the heatmaps.
        longest_side: Of the heatmaps, in pixels; None for the pictures' own size.
    """

    def __init__(
        self,
        folder: Path,
        inspector: Inspector,
        heatmaps: Literal["all", "anomalous", "none"] = "all",
        image_format: Literal["jpg", "png"] = "jpg",
        longest_side: int | None = None,
    ) -> None:
        self.folder, self.inspector = folder, inspector
        self.heatmaps, self.image_format, self.longest_side = heatmaps, image_format, longest_side
        self.rows: list[Row] = []
        self._cards: list[tuple[float, int, bytes]] = []

    def __enter__(self) -> Self:
        try:
            make_output_folder(self.folder)
            self._remove_heatmaps()
            if self.heatmaps != "none":
                self._make_heatmap_folder()
            self._csv = (self.folder / "scores.csv").open("w", newline="", encoding="utf-8")
            self._jsonl = (self.folder / "scores.jsonl").open("w", encoding="utf-8")
        except OSError as error:
            raise UserError(f"Cannot write to {self.folder}: {error}.") from error
        self._table = csv.DictWriter(self._csv, COLUMNS)
        self._table.writeheader()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._csv.close()
        self._jsonl.close()

    def add(self, result: Inspection | UnreadImage) -> Row:
        """Write one result.

        Raises:
            UserError: A file cannot be written.
        """
        row = self._row(result)
        self.rows.append(row)
        try:
            self._table.writerow({k: spreadsheet_cell(v) for k, v in row.cells().items()})
            self._jsonl.write(json.dumps(row.as_dict()) + "\n")
            self._csv.flush()
            self._jsonl.flush()
        except OSError as error:
            raise UserError(f"Cannot write to {self.folder}: {error}.") from error
        return row

    def write_page(self, title: str) -> None:
        """Write `index.html`, of all results so far.

        Raises:
            UserError: It cannot be written.
        """
        thumbnails = {number: data for _, number, data in self._cards}
        cards = [Card(row, n, thumbnails.get(n)) for n, row in enumerate(self.rows)]
        page = build_page(title, cards, self.inspector)
        with replacing(self.folder / "index.html") as temporary:
            temporary.write_text(page, encoding="utf-8")

    def _remove_heatmaps(self) -> None:
        """Remove the heatmaps of an earlier run in the folder: those that its table names."""
        table = self.folder / "scores.jsonl"
        if not table.is_file():
            return
        for line in table.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                name = json.loads(line)["heatmap"]
            except (ValueError, KeyError, TypeError):  # Cut off, or no table of ours.
                continue
            if isinstance(name, str) and _HEATMAP.fullmatch(name):
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

    def _row(self, result: Inspection | UnreadImage) -> Row:
        if isinstance(result, UnreadImage):
            path, error = printable(result.path), printable(result.error)
            log.warning("%s: %s", path, error)
            return Row(path, None, None, self.inspector.threshold, error)
        name = self._heatmap(result)
        path = printable(result.path or "")
        return Row(path, result.score, result.anomalous, result.threshold, "", name, result.regions)

    def _heatmap(self, result: Inspection) -> str:
        """Write the heatmap and keep a thumbnail; the heatmap's name, "" for none."""
        if result.path is None or self.heatmaps == "none":
            return ""
        number = len(self.rows)
        wanted = self.heatmaps == "all" or result.anomalous
        shown = len(self._cards) < MOST or result.score > self._cards[0][0]
        if not wanted and not shown:
            return ""
        try:
            picture = picture_of(expanded(result.path), self.inspector.geometry.rules)
        except BadImageError:  # Gone since it was scored.
            return ""
        if self.longest_side is not None:
            picture.thumbnail((self.longest_side, self.longest_side))
        shown_map = render(picture, result, self.inspector.settings.normal_map)
        if shown:
            keep = heapq.heappush if len(self._cards) < MOST else heapq.heappushpop
            keep(self._cards, (result.score, number, _thumbnail(picture, shown_map)))
        if not wanted:
            return ""
        # Names of files in different folders may be the same.
        name = f"{_FOLDER}/{number:06d}_{file_name(Path(result.path).stem)}.{self.image_format}"
        try:
            with replacing(self.folder / name) as temporary:
                kind = "JPEG" if self.image_format == "jpg" else "PNG"
                Image.fromarray(shown_map).save(temporary, format=kind, quality=_QUALITY)
        except (UserError, ValueError) as error:
            if is_full_disk(error):
                raise
            log.warning("The heatmap of %s is left out: %s", printable(result.path), error)
            return ""
        return name


def render(picture: Image.Image, result: Inspection, normal_map: tuple[float, float]) -> Picture:
    """The score map over the picture, (H, W, 3) uint8, of the picture's size.

    The colours are one scale for all images of a model: dark up to the median of left-out normal
    images, half way at the highest score that a pixel has in them. Defect regions are outlined.

    Args:
        picture: As it was scored, or smaller.
        result: Its scores.
        normal_map: Median and highest score of a pixel in normal images.
    """
    median, highest = normal_map
    scores = np.nan_to_num(result.map, nan=median)
    if scores.shape != (picture.height, picture.width):
        resized = Image.fromarray(scores).resize(picture.size, Image.Resampling.BILINEAR)
        scores = np.asarray(resized)
    rendered = heatmap(np.asarray(picture), scores, median, 2 * highest - median)
    if not result.regions:
        return rendered
    mask = Image.new("L", picture.size)
    across, down = picture.width / result.map.shape[1], picture.height / result.map.shape[0]
    for region in result.regions:
        corners = [(x * across, y * down) for x, y in region.outline]
        ImageDraw.Draw(mask).polygon(corners, fill=1)
    return outline(rendered, np.asarray(mask), width=max(1, round(max(scores.shape) / 500)))


def _thumbnail(picture: Image.Image, rendered: npt.NDArray[np.uint8]) -> bytes:
    """Picture and heatmap side by side, as a small JPEG."""
    sides = [picture.copy(), Image.fromarray(rendered)]
    for side in sides:
        side.thumbnail((_THUMBNAIL, _THUMBNAIL))
    sheet = Image.new("RGB", (sides[0].width * 2, sides[0].height))
    sheet.paste(sides[0], (0, 0))
    sheet.paste(sides[1], (sides[0].width, 0))
    buffer = io.BytesIO()
    sheet.save(buffer, format="JPEG", quality=_QUALITY)
    return buffer.getvalue()
