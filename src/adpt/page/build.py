"""The page as a whole."""

from collections.abc import Iterable
from pathlib import Path

from adpt.errors import UserError
from adpt.files import replacing
from adpt.page import origin, pictures, tables
from adpt.page.markup import Markup, join, tag
from adpt.results import Record, latest, summarise

_LEGEND = (
    "own: the backbone's features as they are. residual: the same less the nearest normal reference"
    " feature. pretrained: residual features through the pretrained projector. Values in percent,"
    " the best in bold; difference: pretrained minus own, in points."
)

# Nothing may be loaded from elsewhere, whatever a class or a path is called.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def build_page(
    records: Iterable[Record], results_folder: str | Path, output: str | Path, title: str
) -> None:
    """Write one HTML file with tables, score maps and what is known of their origin.

    It holds its pictures and its style and asks for no other file.

    Args:
        records: Records of any data sets and methods; of a result taken twice the later one counts.
        results_folder: Where `heatmaps/<data set>/<class>/<method>/<name>.png` lie, if there are
            any; panels whose name begins with `normal` are of normal images.
        output: The page, replaced whole if it exists.
        title: Its title.

    Raises:
        UserError: No records, a picture that cannot be read, or a page that cannot be written.
    """
    records = latest(records)
    if not records:
        raise UserError(
            f"There are no results in {results_folder}: no .jsonl file there holds a record. "
            "Run `python -m adpt.evaluate` first, or give another folder as results=…"
        )
    page = _document(title, [*_tables(records), *_rest(records, Path(results_folder))])
    with replacing(Path(output)) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _tables(records: list[Record]) -> list[Markup]:
    summaries = summarise(records)
    sections = [tables.section(summary) for summary in summaries]
    if len(summaries) > 1:
        overview = [tag("h2", "Means over classes"), tables.overview(summaries)]
        return [*overview, tag("h2", "Per class"), *sections]
    return [tag("h2", "Results"), *sections]


def _rest(records: list[Record], folder: Path) -> list[Markup]:
    return [pictures.section(folder / "heatmaps"), origin.section(records)]


def _document(title: str, sections: list[Markup]) -> str:
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    head = [
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        tag("title", title),
        tag("style", Markup(style)),
    ]
    body = tag("main", tag("h1", title), tag("p", _LEGEND, class_="note"), *sections)
    return join(
        [
            Markup('<!doctype html>\n<html lang="en">\n'),
            tag("head", *map(Markup, head)),
            Markup("\n"),
            tag("body", body),
            Markup("\n</html>\n"),
        ]
    )
