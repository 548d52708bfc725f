"""The page as a whole."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from adpt.errors import UserError
from adpt.page import curves, origin, pictures, scatter, tables
from adpt.page.markup import Markup, document, tag
from adpt.page.titles import titles
from adpt.results import SHOWN, Record, Summary, latest, summarise
from adpt.results.words import LEGEND
from adpt.running.files import replacing

_UNFOLDED = 4
"""Of more methods and data sets the per-class tables are folded up."""


def build_page(
    records: Iterable[Record],
    results_folder: str | Path,
    output: str | Path,
    title: str,
    metrics: Sequence[str] = SHOWN,
) -> None:
    """Write one HTML file with tables, curves, score maps and what is known of their origin.

    It holds its pictures and its style and asks for no other file.

    Args:
        records: Records of any data sets and methods; of a result taken twice the later one counts.
        results_folder: Where, if there are any, `details/` lies, and, beside files of records,
            `heatmaps/<data set>/<class>/<method>/<name>.png` (see `adpt.evaluation.panels`) and
            `tsne/<data set>/<class>.npz`; subfolders count too.
        output: The page, replaced whole if it exists.
        title: Its title.
        metrics: Names of `METRICS` that its tables show at once.

    Raises:
        UserError: No records, pictures or details that cannot be read, or a page that cannot be
            written.
    """
    records = latest(records)
    if not records:
        raise UserError(
            f"There are no results in {results_folder}: no .jsonl file there holds a record. "
            "Run `python -m adpt.evaluate` first, or give another folder as results=…"
        )
    sections = {
        name: content
        for name, content in _sections(records, Path(results_folder), metrics)
        if content
    }
    with replacing(Path(output)) as temporary:
        temporary.write_text(_document(title, sections), encoding="utf-8")


def _sections(
    records: list[Record], folder: Path, metrics: Sequence[str]
) -> Iterable[tuple[str, Markup]]:
    """Name in the table of contents, and content."""
    summaries = summarise(records)
    # Pictures of a training run have another layout: only folders with records count.
    folders = sorted({folder, *(path.parent for path in folder.rglob("*.jsonl"))})
    overview = tables.overview(summaries, metrics)
    if len(summaries) > 1:
        yield "Means", tag("section", tag("h2", "Means over classes"), overview)
        yield "Per class", tag("section", tag("h2", "Per class"), *_per_class(summaries, metrics))
    else:
        table = tables.section(summaries[0], metrics)
        yield "Results", tag("section", tag("h2", "Results"), table, overview)
    yield "Curves", curves.section(summaries, folder)
    yield "Score maps", pictures.section(folders)
    yield "t-SNE", scatter.section(folders)
    yield "Origin", origin.section(records)


def _per_class(summaries: list[Summary], metrics: Sequence[str]) -> list[Markup]:
    if len(summaries) <= _UNFOLDED:
        return [tables.section(summary, metrics) for summary in summaries]
    return [
        tag("details", title, tables.section(summary, metrics), class_="folded")
        for title, summary in zip(titles(summaries), summaries, strict=True)
    ]


def _document(title: str, sections: dict[str, Markup]) -> str:
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    places = {name: name.lower().replace(" ", "-") for name in sections}
    links = [tag("a", name, href=f"#{place}") for name, place in places.items()]
    body = tag(
        "main",
        tag("h1", title),
        tag("nav", *links, aria_label="Contents"),
        tag("p", LEGEND, class_="note"),
        *(tag("div", content, id=places[name]) for name, content in sections.items()),
    )
    return document(title, style, body)
