"""Recorded results, printed and written as the config of `adpt.report` says."""

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from adpt.cli.values import names
from adpt.errors import UserError
from adpt.page.build import build_page
from adpt.results import (
    Record,
    check_metrics,
    latex_tables,
    markdown_report,
    print_table,
    read_records,
    select,
    to_csv,
)
from adpt.results.changes import changes_between, changes_csv, changes_table
from adpt.results.latex import to_latex
from adpt.results.markdown import to_markdown
from adpt.results.reported import Reported, read_reported
from adpt.results.terminal import print_one
from adpt.running.whole_files import replacing

log = logging.getLogger(__name__)

_FILES = {
    "markdown": "report.md", "csv": "results.csv", "latex": "tables.tex", "html": "report.html"
}  # fmt: skip
"""The file of each format."""


def write_report(config: DictConfig) -> None:
    """Print the tables of a results folder and write them in the formats asked for."""
    chosen = _chosen(config, _read("results", config.results))
    metrics = names(config.metrics) or []
    check_metrics(metrics, chosen)
    reported = None if config.reported is None else read_reported(config.reported)
    written = [_write(name, config, chosen, metrics, reported) for name in _formats(config)]
    print_table(chosen, metrics=metrics)
    for path in written:
        log.info("Written: %s", path)


def write_changes(config: DictConfig) -> None:
    """Print what changed between two folders, cell by cell, and write it (but for HTML)."""
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


def _read(option: str, folder: str) -> list[Record]:
    if Path(folder).is_file():
        raise UserError(f"{option}={folder} is a file. Give the folder that it lies in.")
    records = read_records(folder)
    if not records:
        raise UserError(
            f"There are no results in {folder}: no .jsonl file there holds a record. "
            f"Run `python -m adpt.evaluate` first, or give another folder as {option}=…"
        )
    return records


def _chosen(config: DictConfig, records: Sequence[Record]) -> list[Record]:
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
    records: Sequence[Record],
    metrics: Sequence[str],
    reported: Reported | None,
) -> Path:
    """Write a file in one of the formats."""
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
