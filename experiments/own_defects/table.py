"""Put the runs of run.py into results.csv, and their means over seeds as a table into README.md.

python experiments/own_defects/table.py <the OUT folder of run.py>
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from adpt.results import latest, read_records

HERE = Path(__file__).parent
START, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
METRICS = ("image_auroc", "pixel_ap", "pixel_aupro")
METHODS = {"feature_norm": "FeatureNorm", "padim": "PaDiM", "patchcore": "PatchCore"}
Values = dict[tuple[str, ...], list[list[float]]]


def main() -> None:
    """Read the records of every run, write results.csv and the README's table."""
    values: Values = defaultdict(list)
    with (HERE / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["product", "start", "own_defects", "seed", "features", "method", *METRICS])
        found = Path(sys.argv[1]).rglob("results.jsonl")
        for folder in sorted({path.relative_to(sys.argv[1]).parts[:2] for path in found}):
            start, number, seed = (*folder[1].split("_"), "0", "0")[:3]
            for record in latest(read_records(Path(sys.argv[1], *folder))):
                row = (record.class_name, start, number, record.features, record.method)
                figures = [record.metrics[metric] for metric in METRICS]
                values[row].append(figures)
                texts = [f"{figure:.4f}" for figure in figures]
                writer.writerow([*row[:3], seed, *row[3:], *texts])
    readme = HERE / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(START, 1)
    after = rest.split(END, 1)[1]
    readme.write_text(before + START + table(values) + END + after, encoding="utf-8")


def table(values: Values) -> str:
    """A line for each start, a column for each method."""
    lines = [
        "| product | features | " + " | ".join(METHODS.values()) + " |",
        "|---|---|" + "---:|" * len(METHODS),
    ]
    rows = dict.fromkeys(row[:4] for row in values)
    for row in sorted(rows, key=lambda row: (row[0], row[3] == "pretrained", int(row[2]), row[3])):
        product, start, number, features = row
        name = {
            "drawn": f"{features}, on drawn products" if features == "pretrained" else features,
            "scratch": f"pretrained on {number} own defects",
            "continued": f"drawn products, then {number} own defects",
        }[start]
        cells = [text(values[(*row, method)]) for method in METHODS]
        lines.append(f"| {product} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def text(seeds: list[list[float]]) -> str:
    """Mean over seeds and their spread, in percent, a metric each."""
    columns = [[100 * value for value in column] for column in zip(*seeds, strict=True)]
    spread = [f" ± {stdev(column):.1f}" if len(column) > 1 else "" for column in columns]
    return " / ".join(f"{mean(c):.1f}{s}" for c, s in zip(columns, spread, strict=True))


if __name__ == "__main__":
    main()
