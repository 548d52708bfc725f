"""An evaluation on W&B: a table of results, figures that compare runs, pictures and files."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger

from adpt.page.plots import panel
from adpt.results import SHOWN, Record, recorded, setting_in_words, summarise
from adpt.results.blanks import blanks
from adpt.results.budget import budget
from adpt.results.embedding import load_embedding
from adpt.results.record import FEATURES
from adpt.tracking.artifacts import log_results
from adpt.tracking.logger import wandb_runs
from adpt.tracking.scatter import scatter

if TYPE_CHECKING:
    import wandb

_FILES = ("results.jsonl", "results.csv", "report.html")


def log_evaluation(
    loggers: Sequence[Logger], records: Sequence[Record], folder: Path, origin: Mapping[str, Any]
) -> None:
    """Log results of one set and one backbone.

    Args:
        loggers: Of the run; nothing is done where none is of W&B.
        records: The results.
        folder: Holds what an evaluation writes: tables, `heatmaps/` and `tsne/`.
        origin: Provenance of the results.
    """
    for run in wandb_runs(loggers) if records else []:
        figures = comparable(records)
        shown = {name: value for name, value in figures.items() if name.split("/")[3] in SHOWN}
        run.log({**shown, "eval/results": results_table(records), **_pictures(folder, records)})
        # What is not logged gets no panel, and is a column of the table of runs all the same.
        run.summary.update(figures)
        one = records[-1]
        run.config["set"] = one.dataset
        files = [folder / name for name in _FILES if (folder / name).exists()]
        about = {"set": one.dataset, "backbone": one.backbone, "protocol": one.protocol}
        log_results(run, f"{one.dataset}-{one.backbone}", files, {**about, "origin": dict(origin)})


def comparable(records: Sequence[Record]) -> dict[str, float]:
    """Means over classes, named without the backbone, so that runs of several share the columns.

    Args:
        records: Of one backbone, seed and setting.

    Returns:
        `eval/<set>/<method>/<metric>/<features>` to a fraction, and with `gain` as features what
        pretrained features gain over own ones.
    """
    found = {}
    for summary in summarise(records):
        for metric, compared in summary.mean.metrics.items():
            values = {kind: getattr(compared, kind) for kind in FEATURES}
            values["gain"] = compared.difference
            for kind, value in values.items():
                if not math.isnan(value):
                    found[f"eval/{summary.dataset}/{summary.method}/{metric}/{kind}"] = value
    return found


def results_table(records: Sequence[Record]) -> "wandb.Table":
    """A row for every result; undefined metrics are empty, with the reason in `notes`."""
    import wandb

    metrics = recorded(record.metrics for record in records)
    about = ["set", "class", "method", "features", "backbone", "protocol", "seed", "shots"]
    costs = list(dict.fromkeys(name for record in records for name in record.costs))
    table = wandb.Table(
        columns=[*about, "setting", "not published", "projector", *metrics, *costs, "notes"]
    )
    for record in records:
        values = (record.metrics.get(name, math.nan) for name in metrics)
        table.add_data(
            record.dataset,
            record.class_name,
            record.method,
            record.features,
            record.backbone,
            record.protocol,
            record.seed,
            record.shots,
            ", ".join(setting_in_words(record.setting)),
            ", ".join(budget([record])),
            record.projector_sha256 and record.projector_sha256[:8],
            *(None if math.isnan(value) else value for value in values),
            *map(record.costs.get, costs),
            " ".join(blanks([record], metrics)),
        )
    return table


def _pictures(folder: Path, records: Sequence[Record]) -> dict[str, Any]:
    """Score maps by set, class and method; t-SNE layouts by set and class, as picture and table."""
    import wandb

    found: dict[str, Any] = {}
    for place in sorted({f"{record.dataset}/*/{record.method}" for record in records}):
        for path in sorted(folder.glob(f"heatmaps/{place}/*.png")):
            name = "/".join(path.parts[-5:-1])
            found.setdefault(name, []).append(wandb.Image(str(path), caption=path.stem))
    for path in sorted(folder.glob(f"tsne/{records[-1].dataset}/*.npz")):
        name = "/".join(("tsne", *path.with_suffix("").parts[-2:]))
        layout = load_embedding(path)
        rendered = [
            (kind, scatter(points, layout.anomalous)) for kind, points in layout.points.items()
        ]
        found[name] = wandb.Image(panel(rendered))
        table = wandb.Table(columns=["features", "x", "y", "patch"])
        for kind, points in layout.points.items():
            for (x, y), anomalous in zip(points, layout.anomalous, strict=True):
                table.add_data(kind, float(x), float(y), "anomalous" if anomalous else "normal")
        found[f"{name}/points"] = table
    return found
