"""Put what each choice changes against `clean` into README.md, from results.csv.

python experiments/protocols/table.py
"""

import csv
from collections import defaultdict
from pathlib import Path
from statistics import mean

HERE = Path(__file__).parent
START, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
METRICS = ("image_auroc", "pixel_ap", "pixel_aupro")
METHODS = ("feature_norm", "padim", "patchcore", "cflow", "uniad", "glass")


def main() -> None:
    """Make a line for each method and choice: mean, and range over products and seeds."""
    with (HERE / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(r["method"], r["choice"], r["product"], r["seed"]): r for r in rows}
    changes: dict[tuple[str, str], list[tuple[str, str, list[float]]]] = defaultdict(list)
    for (method, choice, product, seed), row in found.items():
        clean = found.get((method, "clean", product, seed))
        if choice != "clean" and clean:
            points = [100 * (float(row[name]) - float(clean[name])) for name in METRICS]
            changes[method, choice].append((product, seed, points))
    lines = [
        "| method | choice | products | seeds | image AUROC | pixel AP | AUPRO |",
        "|---|---|---|---|---|---|---|",
    ]
    for (method, choice), found_changes in sorted(changes.items(), key=_order):
        products, seeds = ({cell[at] for cell in found_changes} for at in (0, 1))
        told = (_told([points[at] for *_, points in found_changes]) for at in range(len(METRICS)))
        cells = (method, choice, len(products), len(seeds), *told)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    readme = HERE / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(START, 1)
    after = rest.split(END, 1)[1]
    readme.write_text(before + START + "\n".join([*lines, END]) + after, encoding="utf-8")


def _order(item: tuple[tuple[str, str], object]) -> tuple[int, bool, str]:
    method, choice = item[0]
    return METHODS.index(method), choice == "paper", choice


def _told(points: list[float]) -> str:
    """Mean, and lowest to highest."""
    values = mean(points), min(points), max(points)
    texts = (f"{round(value, 1) + 0.0:+.1f}".replace("-", "−") for value in values)
    return "{} ({} to {})".format(*texts)


if __name__ == "__main__":
    main()
