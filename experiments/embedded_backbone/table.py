"""Put the runs of run.sh into results.csv, and their means as a table into README.md.

python experiments/embedded_backbone/table.py <the OUT folder of run.sh>
"""

import csv
import sys
from pathlib import Path
from statistics import mean, stdev

from adpt.results import Record, latest, read_records

HERE = Path(__file__).parent
START, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
METRICS = ("image_auroc", "pixel_ap", "pixel_aupro")
BACKBONES = {"random": "random", "embedded": "made", "mobilenetv2": "ImageNet"}
SHOWN = (
    ("patchcore", "own"),
    ("padim", "own"),
    ("feature_norm", "residual"),
    ("patchcore", "residual"),
    ("padim", "residual"),
)


def text(cells: dict[int, list[list[float]]], sign: str = "") -> str:
    """Mean and spread over seeds of the means over products, in percent, a metric each."""
    means = [[100 * mean(column) for column in zip(*rows, strict=True)] for rows in cells.values()]
    parts = []
    for values in zip(*means, strict=True):
        spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
        parts.append(f"{mean(values):{sign}.1f}".replace("-", "−") + spread)
    return " / ".join(parts)


def main() -> None:
    """Read the records of every run, write results.csv and the README's tables."""
    found = [r for folder in sorted(Path(sys.argv[1]).iterdir()) for r in read_records(folder)]
    records = {(r.backbone, r.method, r.features, r.class_name, r.seed): r for r in latest(found)}
    with (HERE / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        head = ("backbone", "method", "features", "product", "seed", *METRICS)
        writer.writerow([*head, "backbone_sha256", "commit"])
        for key, record in sorted(records.items()):
            values = [f"{record.metrics[metric]:.4f}" for metric in METRICS]
            writer.writerow([*key, *values, record.backbone_sha256, record.provenance["commit"]])
    products = sorted({key[3] for key in records})
    seeds = sorted({key[4] for key in records})
    lines = []
    for product in (None, *products):
        inside = products if product is None else [product]
        title = "mean of the four products" if product is None else product
        lines += [f"**{title}**", "", "| method, features | " + " | ".join(BACKBONES.values())]
        lines[-1] += " | made − random | ImageNet − made |"
        lines.append("|---|" + "---:|" * (len(BACKBONES) + 2))
        for method, kind in SHOWN:
            row = {
                backbone: {
                    seed: [figures(records[backbone, method, kind, name, seed]) for name in inside]
                    for seed in seeds
                    if all((backbone, method, kind, name, seed) in records for name in inside)
                }
                for backbone in BACKBONES
            }
            random, made, imagenet = row.values()
            texts = [text(cells) for cells in row.values()]
            texts += [text(less(made, random), "+"), text(less(imagenet, made), "+")]
            lines.append(f"| {method}, {kind} | " + " | ".join(texts) + " |")
        lines.append("")
    readme = HERE / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(START, 1)
    after = rest.split(END, 1)[1]
    table = "\n".join(lines).strip() + "\n"
    readme.write_text(before + START + table + END + after, encoding="utf-8")


def figures(record: Record) -> list[float]:
    """The metrics of one record."""
    return [record.metrics[metric] for metric in METRICS]


def less(
    one: dict[int, list[list[float]]], other: dict[int, list[list[float]]]
) -> dict[int, list[list[float]]]:
    """Differences, seed by seed, where both have the seed."""
    return {
        seed: [
            [a - b for a, b in zip(mine, its, strict=True)]
            for mine, its in zip(one[seed], other[seed], strict=True)
        ]
        for seed in one.keys() & other.keys()
    }


if __name__ == "__main__":
    main()
