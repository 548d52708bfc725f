"""Put the runs of pretraining.sh into pretraining.csv and print them as Markdown.

python experiments/precision/pretraining.py <the OUT folder of pretraining.sh>
"""

import csv
import sys
from pathlib import Path
from statistics import mean

from adpt.results import latest, read_records

METRICS = ("image_auroc", "pixel_ap", "pixel_aupro")
Cell = tuple[str, str, str, int]
"""Method, product, precision, seed."""


def main() -> None:
    """Read the records of every run, write pretraining.csv, print a table."""
    cells: dict[Cell, list[float]] = {}
    for folder in sorted(Path(sys.argv[1]).glob("*/*/scores")):
        for record in latest(read_records(folder)):
            if record.features == "pretrained":
                values = [100 * record.metrics[name] for name in METRICS]
                precision = folder.parent.parent.name
                cells[record.method, record.class_name, precision, record.seed] = values
    with (Path(__file__).parent / "pretraining.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "product", "precision", "seed", *METRICS])
        writer.writerows([*cell, *(f"{v:.2f}" for v in cells[cell])] for cell in sorted(cells))
    seeds = sorted({cell[3] for cell in cells})
    head = ["method", "product", "float32", *(f"bf16-mixed, seed {seed}" for seed in seeds)]
    head += [f"float32, seed {seed} less seed 0" for seed in seeds[1:]]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    sizes: dict[tuple[str, str], list[list[float]]] = {}
    for method, product in sorted({cell[:2] for cell in cells}):
        exact = cells[method, product, "32-true", 0]
        changes = {
            f"bf16-mixed, seed {seed}": (
                cells[method, product, "bf16-mixed", seed], cells[method, product, "32-true", seed]
            )
            for seed in seeds
        } | {
            f"float32, seed {seed}": (cells[method, product, "32-true", seed], exact)
            for seed in seeds[1:]
        }  # fmt: skip
        texts = [" / ".join(f"{value:.1f}" for value in exact)]
        for name, (one, other) in changes.items():
            change = [a - b for a, b in zip(one, other, strict=True)]
            sizes.setdefault((method, name.partition(",")[0]), []).append(change)
            texts.append(" / ".join(f"{value:+.1f}" for value in change))
        print("| " + " | ".join([method, product, *texts]) + " |")
    print("\nMean size of the differences (the mean of them, with signs, in brackets):\n")
    print("| method | bf16-mixed less float32 | another seed |\n|---|---|---|")
    for method in sorted({method for method, _ in sizes}):
        texts = []
        for kind in ("bf16-mixed", "float32"):
            columns = list(zip(*sizes[method, kind], strict=True))
            size = " / ".join(f"{mean(map(abs, column)):.1f}" for column in columns)
            texts.append(size + f" ({' / '.join(f'{mean(column):+.1f}' for column in columns)})")
        print("| " + " | ".join([method, *texts]) + " |")


if __name__ == "__main__":
    main()
