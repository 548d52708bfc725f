"""Print the README's tables from the csv files beside it.

python experiments/unseen_products/table.py
"""

import csv
import itertools
from collections import defaultdict
from math import comb
from pathlib import Path
from statistics import mean, stdev

from products import GROUP_OF, REPORTED

NETWORKS = ("efficientnet_lite0", "mobilenetv2")
FEW = ("metal_nut", "capsule")
"""Products with four images to fit on."""
METRICS = ("image_auroc", "pixel_ap", "pixel_aupro")
Figures = dict[str, list[float]]
"""Product to its figures, by the order of METRICS."""


def read(name: str, seed: str | None = None) -> dict[tuple[str, str, str, str, str], Figures]:
    """Figures by part, backbone, method, features and sources; of a seed or the mean of all."""
    seeds = defaultdict(lambda: defaultdict(list))
    with Path(__file__).with_name(name).open(newline="") as lines:
        for row in csv.DictReader(lines):
            if seed not in (None, row["seed"]):
                continue
            key = tuple(row[n] for n in ("part", "backbone", "method", "features", "sources"))
            seeds[key][row["product"]].append([float(row[metric]) for metric in METRICS])
    return {
        key: {name: [mean(column) for column in zip(*runs, strict=True)]
              for name, runs in found.items()}
        for key, found in seeds.items()
    }  # fmt: skip


def by_group(figures: Figures) -> Figures:
    """The mean over a group's products."""
    groups = defaultdict(list)
    for name, values in figures.items():
        groups[GROUP_OF[name]].append(values)
    return {group: [mean(c) for c in zip(*rows, strict=True)] for group, rows in groups.items()}


def averaged(figures: Figures, groups=None) -> list[float]:
    """The mean over groups."""
    chosen = [row for group, row in by_group(figures).items() if groups is None or group in groups]
    return [mean(column) for column in zip(*chosen, strict=True)]


def difference(made: Figures, other: Figures, metric: int, groups=None) -> str:
    """Mean difference over groups, its standard error, and the sign test over products."""
    names = [name for name in made if groups is None or GROUP_OF[name] in groups]
    first, second = ({n: f[n] for n in names} for f in (made, other))
    a, b = by_group(first), by_group(second)
    gaps = [a[group][metric] - b[group][metric] for group in a]
    better = sum(made[n][metric] > other[n][metric] for n in names)
    worse = sum(made[n][metric] < other[n][metric] for n in names)
    tail = sum(comb(better + worse, k) for k in range(max(better, worse), better + worse + 1))
    chance = min(1.0, 2 * tail / 2 ** (better + worse))
    told = "< 0.001" if chance < 0.0005 else f"{chance:.3f}"
    error = stdev(gaps) / len(gaps) ** 0.5
    return f"{mean(gaps):+.1f} ± {error:.1f} ({better}:{worse}, p {told})"


def written(values: list[float]) -> str:
    """Image AUROC / pixel AP / AUPRO."""
    return " / ".join(f"{value:.1f}" for value in values)


def nested(found: dict, backbone: str, method: str) -> Figures:
    """For each group the features that are best on all others."""
    choices = {
        key[3]: figures
        for key, figures in found.items()
        if key[:3] == ("grid", backbone, method) and key[3] not in ("own", "residual")
    }
    taken: Figures = {}
    for group in sorted(set(GROUP_OF.values())):
        rest = set(GROUP_OF.values()) - {group}
        best = max(choices, key=lambda name: sum(averaged(choices[name], rest)[1:]))
        print(f"  {method}, {group}: {best}")
        taken |= {n: row for n, row in choices[best].items() if GROUP_OF[n] == group}
    return taken


def compared(title: str, own: Figures, residual: Figures, made: Figures, groups=None) -> None:
    """A row of a table, against the better of own and residual features."""
    better = max((own, residual), key=lambda f: sum(averaged(f, groups)[1:]))
    gaps = [difference(made, better, metric, groups) for metric in (1, 2)]
    cells = [written(averaged(f, groups)) for f in (own, residual, made)]
    print("|", title, "|", " | ".join([*cells, *gaps]), "|")


def print_learned(found: dict) -> None:
    """What learned by the losses, beside own and residual features and beside levels alone."""
    learned, same = read("learned.csv"), read("results.csv", "0")
    for (part, backbone, method, features, sources), figures in learned.items():
        if part == "variants":
            print("|", method, "|", features, "|", written(averaged(figures)), "|")
            alone = learned.get((part, backbone, method, "levels alone", sources))
            if not alone:
                alone = same["settled", backbone, method, "own", "all others"]
            print("  compared with:", written(averaged({name: alone[name] for name in figures})))
            gaps = {name: f"{row[1] - alone[name][1]:+.1f}" for name, row in figures.items()}
            print("  pixel AP less that of levels alone, of own ones for PatchCore:", gaps)
        else:
            plain = [found["settled", backbone, method, kind, sources]
                     for kind in ("own", "residual")]  # fmt: skip
            compared(f"{method}, {backbone}, {features}", *plain, figures)
            compared("seven groups", *plain, figures, REPORTED)
            alone = same.get(("settled", backbone, method, "levels alone", sources))
            if alone:
                gaps = [difference(figures, alone, metric, REPORTED) for metric in range(3)]
                print("  less levels alone of the same seed, seven groups:", ", ".join(gaps))


def print_views() -> None:
    """What each kind of views does to residuals, in the mean over products."""
    kinds = defaultdict(list)
    with Path(__file__).with_name("views.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            kind = kinds[row["kind"], row["stride"]]
            kind.append([float(row[n]) for n in ("length", "average_precision", "likeness")])
    for key, rows in kinds.items():
        print("|", *key, "|", " / ".join(f"{mean(c):.2f}" for c in zip(*rows, strict=True)), "|")


def over_groups(made: Figures, other: Figures, metric: int, groups=None) -> str:
    """How many groups are better, and how many worse."""
    first, second = by_group(made), by_group(other)
    gaps = [first[g][metric] - second[g][metric] for g in first if groups is None or g in groups]
    return f"{sum(gap > 0 for gap in gaps)}:{sum(gap < 0 for gap in gaps)}"


def print_checks(found: dict) -> None:
    """What the README says beside its tables."""
    same = read("results.csv", "0")
    for backbone, method in itertools.product(NETWORKS, ("padim", "feature_norm")):
        kinds = ("pretrained", "residual", "levels alone")
        made, residual, alone = (found["settled", backbone, method, k, "all others"] for k in kinds)
        counts = [over_groups(made, residual, m, g) for g in (None, REPORTED) for m in (1, 2)]
        print(f"{method}, {backbone}: groups better than residual, all and seven:", *counts)
        print("  less levels alone:", [difference(made, alone, m) for m in range(3)])
        print("  less residual, image AUROC:", difference(made, residual, 0))
    for backbone, method in itertools.product(NETWORKS, ("cflow", "uniad")):
        kinds = ("own", "residual", "pretrained", "pretrained residuals")
        rows = [found.get(("trained", backbone, method, kind, "all others")) for kind in kinds]
        some = [{n: row for n, row in (of or {}).items() if n not in FEW} for of in rows]
        print(f"{method}, {backbone}, without {FEW}:")
        for name, one, base in (("residual less own", 1, 0), ("pretrained less residual", 2, 1),
                                ("pretrained residuals less residual", 3, 1)):  # fmt: skip
            if some[one]:
                print(f"  {name}:", [difference(some[one], some[base], m) for m in (1, 2)])
    for method in ("padim", "feature_norm"):
        made = same["shipped", NETWORKS[0], method, "pretrained", "drawn"]
        for kind in ("own", "residual", "pretrained", "levels alone"):
            every = same["settled", NETWORKS[0], method, kind, "all others"]
            alone = {name: every[name] for name in made}
            print(f"{method}, nine groups, {kind}:", written(averaged(alone)))
        print("  drawn less that:", [difference(made, alone, m) for m in range(3)])
        residual = same["settled", NETWORKS[0], method, "residual", "all others"]
        print("  residual, all groups, seed 0:", written(averaged(residual)))


def main() -> None:
    """Print everything."""
    found = read("results.csv")
    for part, backbone, method in sorted({key[:3] for key in found}):
        of = {
            key[3]: figures for key, figures in found.items() if key[:3] == (part, backbone, method)
        }
        if part in ("grid", "settled", "trained", "defects"):
            made = nested(found, backbone, method) if part == "grid" else of["pretrained"]
            for groups in (None, REPORTED):
                title = f"{part} {method}, {backbone}, {'seven' if groups else 'all'} groups"
                compared(title, of["own"], of["residual"], made, groups)
                if further := of.get("pretrained residuals"):
                    title = f"{title}, PaDiM's recipe"
                    compared(title, of["own"], of["residual"], further, groups)
        if "levels alone" in of:
            for groups in (None, REPORTED):
                print("| levels alone |", written(averaged(of["levels alone"], groups)), "|")
    for key, figures in sorted(found.items()):
        if key[0] in ("growth", "shipped"):
            print("|", key[0], key[2], "|", key[4], "|", written(averaged(figures)), "|")
    for key, figures in sorted(found.items()):
        if key[0] == "grid":
            print("|", key[2], "|", key[3], "|", written(averaged(figures)), "|")
    print_learned(found)
    for name in ("lengths.csv", "closed_forms.csv"):
        for key, figures in read(name).items():
            print("|", key[2], "|", key[3], "|", written(averaged(figures)), "|")
    print_views()
    print_checks(found)


if __name__ == "__main__":
    main()
