"""Results that are recorded already: what stands for a cell, and why another does not."""

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

from omegaconf import DictConfig

from adpt.cli.values import differing
from adpt.errors import UserError
from adpt.evaluation.cells import Cell
from adpt.results import Record, append_records, latest, read_records
from adpt.results.words import causes

log = logging.getLogger(__name__)


def not_recorded(
    config: DictConfig, cells: Sequence[Cell], dataset: str, costs_on: str | None = None
) -> list[Cell]:
    """Cells that are not recorded in the folder `config.recorded`, all of them where that is null.

    What is recorded is said, and what keeps other records from standing for these cells.

    Args:
        config: The run's.
        cells: Those of the table.
        dataset: Their set.
        costs_on: Where costs are to be measured: a record without them, or with those of another
            machine, stands for no cell. None does not ask for costs.

    Raises:
        UserError: Another folder than the run's own is named, and is not there.
    """
    if config.recorded is None:
        return list(cells)
    folder, own = Path(config.recorded), Path(config.output_dir)
    if not folder.exists() and folder != own:
        raise UserError(f"recorded={folder} is not there; recorded=null computes all results.")
    done = {record.cell: record for record in read_records(folder)} if folder.exists() else {}
    standing = {
        sha
        for sha, record in done.items()
        if costs_on is None or (record.costs and record.provenance.get("costs_on") == costs_on)
    }
    new = [cell for cell in cells if cell.sha256 not in done]
    due = [cell for cell in cells if cell.sha256 not in standing]
    if len(due) < len(cells):
        where = "" if folder == own else f" in {folder}, not shown here"
        count = len(cells) - len(due)
        log.info("%d of %d results are recorded already%s", count, len(cells), where)
    if len(due) > len(new):
        log.info(
            "%d recorded before are computed again, for their costs: on %s",
            len(due) - len(new),
            costs_on,
        )
    for what, count in changes(new, dataset, list(done.values())).items():
        log.info("%d recorded before are computed anew, for this differs: %s", count, what)
    return due


def record_last(path: Path, asked: Collection[str]) -> set[str | None]:
    """Append those results of a run again in place of which later ones would be shown.

    Args:
        path: The folder's records.
        asked: Hashes of the run's cells.

    Returns:
        Hashes of the cells that were appended.
    """
    if not path.exists():
        return set()
    records = read_records(path)
    shown = {record.cell for record in latest(records)}
    hidden = [r for r in records if r.cell in asked and r.cell not in shown]
    if hidden:
        append_records(path, hidden)
    return {record.cell for record in hidden}


def changes(cells: Sequence[Cell], dataset: str, records: Sequence[Record]) -> dict[str, int]:
    """Say what keeps recorded results from standing for cells that they resemble.

    Args:
        cells: Cells that are not recorded.
        dataset: Name of their set.
        records: What is recorded.

    Returns:
        In words what differs, and for how many of the cells; a cell is held against the record of
        the same set, class, method and features that differs from it in least.
    """
    similar: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        if record.dataset == dataset:
            similar[record.class_name, record.method, record.features].append(record)
    counts: dict[str, int] = defaultdict(int)
    for cell in cells:
        found = similar[cell.class_name, cell.method, cell.kind]
        if not found:
            continue
        told = min((_changes(cell, record) for record in found), key=len)
        counts["; ".join(told)] += 1
    return dict(counts)


def _changes(cell: Cell, record: Record) -> list[str]:
    if not record.decides:
        return ["they are of an adpt that did not note what decides"]
    told = causes(differing(record.decides, cell.decides))
    # Options, mean and standard deviation are told apart: what is left of the hash are the weights.
    return [one.replace("the backbone's fingerprint", "the backbone's weights") for one in told]
