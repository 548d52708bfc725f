"""Show recorded results as tables and a page: `python -m adpt.report results=outputs/demo`."""

import logging
from collections.abc import Sequence
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
    from adpt.results.reported import Reported

log = logging.getLogger(__name__)

_FILES = {
    "markdown": "report.md", "csv": "results.csv", "latex": "tables.tex", "html": "report.html"
}  # fmt: skip
"""The file of each format."""


@entry
def report(config: DictConfig) -> None:
    """Print the tables of a results folder and write them in the formats asked for."""
    from adpt.results import check_metrics, print_table, read_records, select
    from adpt.results.reported import read_reported

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
    reported = None if config.reported is None else read_reported(config.reported)
    formats = names(config.formats) or []
    unknown = [name for name in formats if name not in _FILES]
    if unknown:
        raise UserError(f"formats={formats}: choose some of {', '.join(_FILES)}.")
    written = [_write(name, config, chosen, metrics, reported) for name in formats]
    print_table(chosen, metrics=metrics)
    for path in written:
        log.info("Written: %s", path)


def _write(
    name: str,
    config: DictConfig,
    records: "Sequence[Record]",
    metrics: Sequence[str],
    reported: "Reported | None",
) -> Path:
    """Write a file in one of the formats."""
    from adpt.page import build_page
    from adpt.results import latex_tables, markdown_report, to_csv
    from adpt.running.files import replacing

    path = Path(config.output) / _FILES[name]
    if name == "csv":
        to_csv(records, path)
    elif name == "html":
        build_page(records, config.results, path, config.title, metrics, reported)
    else:
        if name == "markdown":
            content = markdown_report(records, config.title, metrics, reported)
        else:
            content = latex_tables(records, metrics, reported)
        with replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return path


@command
@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="report")
def main(config: DictConfig) -> None:
    """Show recorded results."""
    report(config)


if __name__ == "__main__":
    main()
