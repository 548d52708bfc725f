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
    from adpt.results import check_metrics, print_table
    from adpt.results.reported import read_reported

    if config.compare is not None:
        compare(config)
        return
    chosen = _chosen(config, _read("results", config.results))
    metrics = names(config.metrics) or []
    check_metrics(metrics, chosen)
    reported = None if config.reported is None else read_reported(config.reported)
    written = [_write(name, config, chosen, metrics, reported) for name in _formats(config)]
    print_table(chosen, metrics=metrics)
    for path in written:
        log.info("Written: %s", path)


def compare(config: DictConfig) -> None:
    """Print what changed between two folders, cell by cell, and write it (but for HTML)."""
    from adpt.results import check_metrics
    from adpt.results.changes import changes_between, changes_csv, changes_table
    from adpt.results.latex import to_latex
    from adpt.results.markdown import to_markdown
    from adpt.results.terminal import print_one
    from adpt.running.whole_files import replacing

    folders = names(config.compare) or []
    if len(folders) != 2:
        raise UserError(f"compare=[{','.join(folders)}]: give two folders, the earlier one first.")
    if Path(folders[0]).resolve() == Path(folders[1]).resolve():
        raise UserError(f"compare=[{','.join(folders)}]: both are one folder; give two.")
    sides = [_read("compare", folder) for folder in folders]
    chosen = set(map(id, _chosen(config, [*sides[0], *sides[1]])))
    before, after = ([record for record in side if id(record) in chosen] for side in sides)
    found = changes_between(before, after)
    if not found.pairs:
        raise UserError(
            f"compare=[{','.join(folders)}]: no result of one folder can be held against one of the"
            " other, for they share no set, class, method and features."
        )
    metrics = names(config.metrics) or []
    check_metrics(metrics, [*before, *after])
    table = changes_table(found, (folders[0], folders[1]), metrics)
    output = Path(folders[1] if config.output == config.results else config.output)
    written = []
    for name in _formats(config):
        if name == "html":
            continue
        path = output / {"markdown": "changes.md", "csv": "changes.csv"}.get(name, "changes.tex")
        if name == "csv":
            changes_csv(found, path)
        else:
            content = to_markdown(table) if name == "markdown" else to_latex([table])
            with replacing(path) as temporary:
                temporary.write_text(content, encoding="utf-8")
        written.append(path)
    print_one(table)
    for path in written:
        log.info("Written: %s", path)


def _read(option: str, folder: str) -> "list[Record]":
    from adpt.results import read_records

    if Path(folder).is_file():
        raise UserError(f"{option}={folder} is a file. Give the folder that it lies in.")
    records = read_records(folder)
    if not records:
        raise UserError(
            f"There are no results in {folder}: no .jsonl file there holds a record. "
            f"Run `python -m adpt.evaluate` first, or give another folder as {option}=…"
        )
    return records


def _chosen(config: DictConfig, records: "Sequence[Record]") -> "list[Record]":
    from adpt.results import select

    wanted = (names(config[o]) for o in ("datasets", "methods", "backbones"))
    return select(records, config.protocol, *wanted)


def _formats(config: DictConfig) -> list[str]:
    formats = names(config.formats) or []
    if any(name not in _FILES for name in formats):
        raise UserError(f"formats={formats}: choose some of {', '.join(_FILES)}.")
    return formats


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
    from adpt.running.whole_files import replacing

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
