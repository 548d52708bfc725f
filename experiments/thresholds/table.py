"""Compare the rules on what collect.py found: results.csv, and the README's tables.

python experiments/thresholds/table.py OUT
"""

import csv
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np
from rules import RULES, best_f1, f1

HERE = Path(__file__).parent
START, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
CHOSEN_ON = {
    "ball_screw", "capsule", "cookie", "leather_plain", "magnetic_tile",
    "solar_cell_mono4", "solar_cell_poly3", "solar_cell_poly4",
}  # fmt: skip
"""Half of the products, by source; the others are reported."""
METHODS = {"patchcore": "PatchCore", "padim": "PaDiM", "feature_norm": "FeatureNorm"}
AVERAGED = {"highest": (0, 2, 4), "log_normal": (0, 2, 4)}
"""Rules that are tried on means of the highest values, too: their columns in collect.py."""
BOUND = "best on the test pictures with at most 10 % false alarms"
TOLD_APART = 0.9
TOPS = {2: "0.5 %", 4: "1 to 2 %"}
ALLOWED = 0.1
"""Twice the default's rate of false alarms, for the bound that no threshold within it can pass."""


class Cell(NamedTuple):
    """A rule on one method that was fitted on some pictures of one product."""

    product: str
    method: str
    images: int
    rule: str
    f1_ratio: float
    false_alarms: float
    missed: float
    best: float
    auroc: float


def main() -> None:
    """Write results.csv and the README's tables."""
    backbones = sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir())
    with (HERE / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["backbone", *Cell._fields])
        tables = ""
        for folder in backbones:
            found = [cell for path in sorted(folder.glob("*.npz")) for cell in cells(path)]
            for cell in found:
                figures = [f"{v:.4f}" if isinstance(v, float) else v for v in cell]
                writer.writerow([folder.name, *figures])
            tables += f"\n**{folder.name}**\n\n{rules_table(found)}\n{sizes_table(found)}"
    readme = HERE / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(START, 1)
    after = rest.split(END, 1)[1]
    readme.write_text(before + START + tables + END + after, encoding="utf-8")


def cells(path: Path) -> Iterable[Cell]:
    """All rules on one product."""
    found = dict(np.load(path))
    bad = found["labels"]
    for key in [key for key in found if key.endswith("/test")]:
        size, method, _ = key.split("/")
        if method not in METHODS:
            continue
        test = found[key]
        best = best_f1(test[~bad, 0], test[bad, 0])[0]
        auroc = float((test[bad, 0][:, None] > test[~bad, 0]).mean())
        bound = bounded(test[~bad, 0], test[bad, 0])
        own = {
            name: found.get(f"{size}/{method}/{name}") for name in ("one_bank", "drawn", "refits")
        }
        for rule, column, rate in rules():
            if rule == BOUND:
                yield Cell(
                    path.stem,
                    method,
                    int(size),
                    rule,
                    *against(test[:, 0], bad, bound, best),
                    auroc,
                )
                continue
            good = own["one_bank"][:, column]
            if rule == "refits":
                good = own["refits"] if own["refits"] is not None else good
            make = RULES["highest" if rule == "refits" else rule]
            threshold = make(good.astype(float), own["drawn"][:, column].astype(float), rate)
            figures = against(test[:, column], bad, threshold, best)
            yield Cell(path.stem, method, int(size), name_of(rule, column, rate), *figures, auroc)


def against(
    scores: np.ndarray, bad: np.ndarray, threshold: float, best: float
) -> tuple[float, float, float, float]:
    """F1 by the best, false alarms, missed, and the best F1."""
    f1_ratio = f1(scores[~bad], scores[bad], threshold) / best
    alarms, missed = (scores[~bad] > threshold).mean(), (scores[bad] <= threshold).mean()
    return f1_ratio, float(alarms), float(missed), best


def bounded(good: np.ndarray, bad: np.ndarray) -> float:
    """The threshold of the largest F1 score among those with `ALLOWED` false alarms at most."""
    lowest = float(np.sort(good)[::-1][math.ceil(ALLOWED * len(good))])
    places = np.array([lowest, *np.concatenate([good, bad])])
    return float(max(places[places >= lowest], key=lambda place: f1(good, bad, place)))


def rules() -> Iterable[tuple[str, int, float]]:
    """Each rule, of which column of the scores, for which rate."""
    yield BOUND, 0, ALLOWED
    for rule in ("refits", *RULES):
        for rate in (0.01, 0.05, 0.1):
            for column in AVERAGED.get(rule, (0,)):
                yield rule, column, rate


def name_of(rule: str, column: int, rate: float) -> str:
    """What a rule is called in tables."""
    return f"{rule} {rate:g}" + (f", mean of the top {TOPS[column]}" if column else "")


def rules_table(found: Iterable[Cell]) -> str:
    """Every rule on both halves of the products, 10 pictures and more."""
    shown = (BOUND, "refits 0.01", "robust 0.1")
    cells = [c for c in found if c.images >= 10 and (c.rule in shown or " 0.05" in c.rule)]
    lines = [
        "| rule, rate asked | chosen on | reported | all, where AUROC ≥ 90 % |",
        "|---|---:|---:|---:|",
    ]
    for rule in dict.fromkeys(cell.rule for cell in cells):
        here = [cell for cell in cells if cell.rule == rule]
        columns = (
            [cell for cell in here if cell.product in CHOSEN_ON],
            [cell for cell in here if cell.product not in CHOSEN_ON],
            [cell for cell in here if cell.auroc >= TOLD_APART],
        )
        lines.append(f"| {rule} | " + " | ".join(map(text, columns)) + " |")
    return "\n".join(lines) + "\n"


def sizes_table(found: Iterable[Cell]) -> str:
    """Before and after on the reported products, by method and number of good pictures."""
    lines = [
        "| good pictures | rule | " + " | ".join(METHODS.values()) + " |",
        "|---|---|---:|---:|---:|",
    ]
    for least, most in ((10, 10), (11, 30), (31, 1000)):
        for rule in ("refits 0.01", "refits 0.05", "adpt 0.05", BOUND):
            here = [
                cell for cell in found
                if cell.rule == rule and least <= cell.images <= most
                and cell.product not in CHOSEN_ON
            ]  # fmt: skip
            columns = [text([cell for cell in here if cell.method == m]) for m in METHODS]
            sizes = sorted({cell.images for cell in here})
            lines.append(f"| {', '.join(map(str, sizes))} | {rule} | " + " | ".join(columns) + " |")
    return "\n".join(lines) + "\n"


def text(group: list[Cell]) -> str:
    """F1 at the threshold by the best F1; false alarms and missed in percent."""
    if not group:
        return "–"
    ratio = mean(cell.f1_ratio for cell in group)
    alarms = 100 * mean(cell.false_alarms for cell in group)
    return f"{ratio:.3f} / {alarms:.0f} / {100 * mean(cell.missed for cell in group):.0f}"


if __name__ == "__main__":
    main()
