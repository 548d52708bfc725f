"""Put the runs of run.sh into results.csv and print them as Markdown.

python experiments/real_small/table.py <the OUT folder of run.sh>
"""

import csv
import sys
from pathlib import Path

from adpt.results import Record, latest, read_records

METRICS = ("image_auroc", "pixel_auroc", "pixel_ap", "pixel_aupro")
COLUMNS = ("own", "residual", "real", "drawn", "both")


def column(record: Record, recipe: str) -> str:
    """Which column of the table a record belongs to: its features, or what pretrained them."""
    return recipe if record.features == "pretrained" else record.features


def main() -> None:
    """Read the records of every run, write results.csv, print a table a method."""
    cells: dict[tuple[str, str, str], Record] = {}
    for folder in sorted(Path(sys.argv[1]).glob("*/scores")):
        recipe = folder.parent.name.split("_")[0]
        for record in latest(read_records(folder)):
            cells[record.method, record.class_name, column(record, recipe)] = record
    with (Path(__file__).parent / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["method", "product", "features", "seed", "shots", "protocol", *METRICS, "commit"]
        )
        for (method, product, name), record in sorted(cells.items()):
            values = [f"{record.metrics[metric]:.4f}" for metric in METRICS]
            commit = record.provenance["commit"]
            setting = [record.seed, record.shots, record.protocol]
            writer.writerow([method, product, name, *setting, *values, commit])
    shown = [name for name in COLUMNS if any(key[2] == name for key in cells)]
    for method in sorted({key[0] for key in cells}):
        print(f"\n**{method}**, pixel AP / AUPRO / image AUROC\n")
        print("| product | " + " | ".join(shown) + " |\n|---|" + "---|" * len(shown))
        products = sorted({key[1] for key in cells})
        for label, group in [*((p, [p]) for p in products), ("**mean**", products)]:
            texts = []
            for name in shown:
                records = [cells[key] for p in group if (key := (method, p, name)) in cells]
                means = [
                    sum(record.metrics[metric] for record in records) / max(1, len(records))
                    for metric in ("pixel_ap", "pixel_aupro", "image_auroc")
                ]
                whole = len(records) == len(group)
                texts.append(" / ".join(f"{100 * m:.1f}" for m in means) if whole else "")
            print(f"| {label} | " + " | ".join(texts) + " |")


if __name__ == "__main__":
    main()
