"""Compare rules for regions on what collect.py found: results.csv, and the README's table.

python experiments/regions/table.py OUT
"""

import csv
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from adpt.inspection.regions import RegionRule

HERE = Path(__file__).parent
START, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
CHOSEN_ON = {
    "ball_screw", "capsule", "cookie", "leather_plain", "magnetic_tile",
    "solar_cell_mono4", "solar_cell_poly3", "solar_cell_poly4",
}  # fmt: skip
"""Half of the products, by source, as in experiments/thresholds; the others are reported."""
GRID = list(
    itertools.product((0.0, 0.25, 0.5, 1.0), (0.0, 0.4, 0.5, 0.6, 0.7), (0.0, 2e-3, 5e-3, 1e-2))
)


class Cell(NamedTuple):
    """A rule on the defective pictures of one product, by one method."""

    product: str
    method: str
    of_normal: float
    of_peak: float
    smallest: float
    regions: float
    precision: float
    recall: float
    dice: float

    @property
    def rule(self) -> tuple[float, float, float]:
        """What was compared."""
        return self.of_normal, self.of_peak, self.smallest

    @property
    def quality(self) -> float:
        """What a rule is chosen by: the mean of the regions' F1 score and of Dice."""
        both = self.precision + self.recall
        return (2 * self.precision * self.recall / both + self.dice) / 2 if both else self.dice / 2


def main() -> None:
    """Write results.csv and the README's table."""
    cells = [cell for path in sorted(Path(sys.argv[1]).glob("*.npz")) for cell in measured(path)]
    with (HERE / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Cell._fields)
        writer.writerows([f"{v:.4g}" if isinstance(v, float) else v for v in c] for c in cells)
    readme = HERE / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(START, 1)
    after = rest.split(END, 1)[1]
    readme.write_text(before + START + table(cells) + END + after, encoding="utf-8")


def measured(path: Path) -> list[Cell]:
    """All rules on one product."""
    found = dict(np.load(path))
    product, method = path.stem.rsplit("-", 1)
    median, highest = found["normal_map"].tolist()
    count = len(found["anomalous"])
    pictures = [(found[f"map/{n}"], found[f"mask/{n}"]) for n in range(count)]
    cells = []
    for rule in GRID:
        figures = np.array(
            [compared(labels(scores, median, highest, rule), mask) for scores, mask in pictures]
        )
        regions, right, defects, hit = figures[:, :4].sum(0)
        shares = (regions / count, right / regions, hit / defects, figures[:, 4].mean())
        cells.append(Cell(product, method, *rule, *map(float, shares)))
    return cells


def labels(
    scores: np.ndarray, median: float, highest: float, rule: tuple[float, float, float]
) -> np.ndarray:
    """Regions of what is above both shares, of the highest in good pictures and of the peak."""
    of_normal, of_peak, smallest = rule
    peak = max(float(scores.max()), median + 1e-6)
    share = max(of_peak, of_normal * (highest - median) / (peak - median))
    return RegionRule(of_peak=min(share, 0.9999), smallest=smallest).labels(scores, median)


def compared(numbers: np.ndarray, mask: np.ndarray) -> tuple[float, float, float, float, float]:
    """Regions, those that touch a defect; defects, those that a region touches; Dice."""
    rows, columns = (
        np.arange(size) * side // size for size, side in zip(mask.shape, numbers.shape, strict=True)
    )
    regions = numbers[np.ix_(rows, columns)]
    defects, count = ndimage.label(mask, np.ones((3, 3)))
    right = len(np.unique(regions[mask & (regions > 0)]))
    hit = len(np.unique(defects[mask & (regions > 0)]))
    dice = 2 * (mask & (regions > 0)).sum() / (mask.sum() + (regions > 0).sum())
    return float(numbers.max()), right, count, hit, float(dice)


def table(cells: Sequence[Cell]) -> str:
    """The best rules by the chosen half, what adpt takes, and single rules, on both halves."""
    halves = [[c for c in cells if (c.product in CHOSEN_ON) == chosen] for chosen in (True, False)]
    order = sorted(GRID, key=lambda rule: -mean(c.quality for c in halves[0] if c.rule == rule))
    taken = RegionRule()
    default = (0.0, taken.of_peak, taken.smallest)
    former = (1.0, 0.0, 0.0)
    lines = [
        "| `of_normal`, `of_peak`, `smallest` | chosen on | reported |",
        "|---|---:|---:|",
    ]
    for rule in dict.fromkeys([*order[:5], default, former]):
        name = f"{rule[0]:g}, {rule[1]:g}, {rule[2]:g}"
        name += " (adpt's)" * (rule == default)
        name += " (only what no good pixel has)" * (rule == former)
        columns = [text([c for c in half if c.rule == rule]) for half in halves]
        lines.append(f"| {name} | {' | '.join(columns)} |")
    lines += [
        "",
        "| product | PatchCore | PaDiM |",
        "|---|---:|---:|",
    ]
    for product in sorted({c.product for c in cells}):
        here = [c for c in cells if c.product == product and c.rule == default]
        columns = [text([c for c in here if c.method == m]) for m in ("patchcore", "padim")]
        lines.append(f"| {product} | {' | '.join(columns)} |")
    return "\n".join(lines) + "\n"


def text(group: Sequence[Cell]) -> str:
    """Precision, recall and Dice in percent; regions a picture."""
    figures = [mean(getattr(c, name) for c in group) for name in ("precision", "recall", "dice")]
    shares = " / ".join(f"{100 * figure:.0f}" for figure in figures)
    return f"{shares} / {mean(c.regions for c in group):.1f}"


if __name__ == "__main__":
    main()
