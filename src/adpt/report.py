"""Show recorded results as tables and a page: `python -m adpt.report results=outputs/demo`."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from adpt.cli.entry import command, entry
from adpt.cli.values import names
from adpt.errors import UserError
from adpt.running.paths import conf_dir

if TYPE_CHECKING:
    from adpt.results import Record

log = logging.getLogger(__name__)


@entry
def report(config: DictConfig) -> None:
    """Print the tables of a results folder and write them in the formats asked for."""
    from adpt.results import check_metrics, print_table, read_records, select

    folder = Path(config.results)
    if folder.is_file():
        raise UserError(f"results={folder} is a file. Give the folder that it lies in.")
    records = read_records(folder)
    if not records:
        raise UserError(
            f"There are no results in {folder}: no .jsonl file there holds a record. "
            "Run `python -m adpt.evaluate` first, or give another folder as results=…"
        )
    wanted = (names(config[o]) for o in ("datasets", "methods", "backbones"))
    chosen = select(records, config.protocol, *wanted)
    metrics = names(config.metrics) or []
    check_metrics(metrics, chosen)
    writers = _writers(config, chosen, metrics)
    formats = names(config.formats) or []
    unknown = [name for name in formats if name not in writers]
    if unknown:
        raise UserError(f"formats={formats}: choose some of {', '.join(writers)}.")
    written = [writers[name](Path(config.output)) for name in formats]
    print_table(chosen, metrics=metrics)
    for path in written:
        log.info("Written: %s", path)


def _writers(
    config: DictConfig, records: "Sequence[Record]", metrics: Sequence[str]
) -> dict[str, Callable[[Path], Path]]:
    """What writes each format into a folder, and gives the file."""
    from adpt.page import build_page
    from adpt.results import latex_tables, markdown_report, to_csv
    from adpt.running.files import replacing

    def text(path: Path, content: str) -> Path:
        with replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
        return path

    def csv(folder: Path) -> Path:
        to_csv(records, folder / "results.csv")
        return folder / "results.csv"

    def html(folder: Path) -> Path:
        build_page(records, config.results, folder / "report.html", config.title, metrics)
        return folder / "report.html"

    return {
        "markdown": lambda f: text(
            f / "report.md", markdown_report(records, config.title, metrics)
        ),
        "csv": csv,
        "latex": lambda folder: text(folder / "tables.tex", latex_tables(records, metrics)),
        "html": html,
    }


@command
@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="report")
def main(config: DictConfig) -> None:
    """Show recorded results."""
    report(config)


if __name__ == "__main__":
    main()
