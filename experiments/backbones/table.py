"""Put the tables of results.csv into README.md.

python experiments/backbones/table.py
"""

import csv
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from statistics import fmean, stdev

from measure import CHOOSING, CHOSEN, LEVELS, METRICS, PADIM_LEVELS, REPORTING

HERE = Path(__file__).parent
START, END = "<!-- tables: begin -->\n", "<!-- tables: end -->\n"
Cell = tuple[str, str, str]
"""Backbone, strides, method."""
Groups = dict[str, list[float]]
"""Metrics of each group of products, in percent."""


def by_group(groups: Mapping[str, str]) -> dict[Cell, Groups]:
    """Means over the products of each group, of cells that have all of these products."""
    found: dict[Cell, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    with (HERE / "results.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["product"] in groups:
                cell = row["backbone"].removeprefix("tf_"), row["strides"], row["method"]
                values = [100 * float(row[metric]) for metric in METRICS]
                found[cell][groups[row["product"]]].append(values)
    return {
        cell: {name: mean(values) for name, values in parts.items()}
        for cell, parts in found.items()
        if sum(map(len, parts.values())) == len(groups)
    }


def mean(rows: Collection[list[float]]) -> list[float]:
    """Means of columns."""
    return [fmean(column) for column in zip(*rows, strict=True)]


def text(values: list[float]) -> str:
    """Figures of one cell."""
    return " / ".join(f"{value:.1f}" for value in values)


def table(cells: Mapping[Cell, Groups]) -> str:
    """A row for each backbone and strides, with the mean of its six figures beside the best's."""
    rows = sorted({cell[:2] for cell in cells if (*cell[:2], "patchcore") in cells})
    totals = {
        row: {group: fmean(cells[*row, "padim"][group] + cells[*row, "patchcore"][group])
              for group in cells[*row, "padim"]}
        for row in rows
    }  # fmt: skip
    best = max(rows, key=lambda row: fmean(totals[row].values()))
    lines = ["| backbone | strides | PaDiM | PatchCore | mean | less than the best |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    for row in rows:
        less = [totals[best][group] - value for group, value in totals[row].items()]
        error = stdev(less) / len(less) ** 0.5
        figures = [text(mean(cells[*row, method].values())) for method in ("padim", "patchcore")]
        last = [f"{fmean(totals[row].values()):.1f}", f"{fmean(less):.1f} ± {error:.1f}"]
        lines.append("| " + " | ".join([*row, *figures, *last]) + " |")
    return "\n".join(lines) + "\n"


def padim_table(chosen: Mapping[Cell, Groups], reported: Mapping[Cell, Groups]) -> str:
    """PaDiM by its levels, on both parts: three figures each, and their mean."""
    lines = ["| backbone | strides | choosing | mean | reporting | mean |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    for name in PADIM_LEVELS:
        backbone = name.removeprefix("tf_")
        for strides in LEVELS:
            parts = [mean(part[backbone, strides, "padim"].values()) for part in (chosen, reported)]
            figures = [one for part in parts for one in (text(part), f"{fmean(part):.1f}")]
            lines.append("| " + " | ".join([backbone, strides, *figures]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the tables of both parts, and that of PaDiM's levels."""
    choosing, reported = by_group(CHOOSING), by_group(REPORTING)
    chosen = {cell: groups for cell, groups in reported.items() if cell[1] == CHOSEN}
    counts = (len({*CHOOSING.values()}), len({*REPORTING.values()}))
    titles = [
        f"**{part}** ({n} groups)"
        for part, n in zip(("Choosing", "Reporting"), counts, strict=True)
    ]
    tables = [table(cells) for cells in (choosing, chosen)]
    shown = "\n".join(f"{title}\n\n{part}" for title, part in zip(titles, tables, strict=True))
    shown += f"\n**PaDiM's levels**\n\n{padim_table(choosing, reported)}"
    readme = HERE / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(START, 1)
    after = rest.split(END, 1)[1]
    readme.write_text(before + START + "\n" + shown + "\n" + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
