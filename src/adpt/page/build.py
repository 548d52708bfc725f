"""The page as a whole."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from adpt.errors import UserError
from adpt.page import costs, curves, embeddings, origin, score_maps
from adpt.page.classes import one_summary
from adpt.page.headline import headlines
from adpt.page.render import render
from adpt.results import SHOWN, Record, latest, mean_tables, summarise
from adpt.results.reported import Reported
from adpt.results.words import LEGEND
from adpt.running.whole_files import replacing


def build_page(
    records: Iterable[Record],
    results_folder: str | Path,
    output: str | Path,
    title: str,
    metrics: Sequence[str] = SHOWN,
    reported: Reported | None = None,
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
        metrics: Names of metrics that its tables show at once.
        reported: Results of others, to stand beside ours where they may.

    Raises:
        UserError: No records, pictures or details that cannot be read, or a page that cannot be
            written.
    """
    records, folder = latest(records), Path(results_folder)
    if not records:
        raise UserError(
            f"There are no results in {folder}: no .jsonl file there holds a record. "
            "Run `python -m adpt.evaluate` first, or give another folder as results=…"
        )
    summaries = summarise(records)
    # Pictures of a training run have another layout: only folders with records count.
    folders = sorted({folder, *(path.parent for path in folder.rglob("*.jsonl"))})
    classes = [one_summary(summary, metrics) for summary in summaries]

    def sections() -> Iterator[tuple[str, str, Any]]:
        """Name in the table of contents, template and what it shows."""
        means = mean_tables(summaries, metrics, reported)
        figures = headlines(summaries, metrics)
        if len(summaries) > 1:
            yield "Means", "means", {"tables": means, "figures": figures}
            yield "Per class", "classes", classes
        else:
            shown = {"classes": classes, "means": means, "figures": figures}
            yield "Results", "one_result", shown
        yield "Costs", "costs", costs.section(summaries, metrics)
        yield "Curves", "curves", curves.section(summaries, folder)
        yield "Score maps", "score_maps", score_maps.section(folders)
        yield "t-SNE", "embeddings", embeddings.section(folders)
        yield "Origin", "origin", origin.section(records)

    page = render(
        "report.html.j2",
        title=title,
        legend=LEGEND,
        sections={name: (f"{file}.html.j2", shown) for name, file, shown in sections() if shown},
        settings_differ=len({summary.setting for summary in summaries}) > 1,
    )
    with replacing(Path(output)) as temporary:
        temporary.write_text(page, encoding="utf-8")
