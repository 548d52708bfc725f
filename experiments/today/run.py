"""All methods on real products with short trainings; see README.md.

python experiments/today/run.py <data> <folder for runs> [<method> ...]

<data> holds products/, labelled/ and mvtec/. Started again, it goes on where it was; results.csv
beside this file is written anew from all runs in the folder.
"""

import csv
import shutil
import sys
from pathlib import Path

from adpt import evaluate
from adpt.results import Record, read_records

SEEDS = (0, 1, 2)
METRICS = ("image_auroc", "pixel_ap", "pixel_aupro")
IMAGES = {"train": 24, "good": 16, "defective": 32}
"""How many of each kind are taken of a product, evenly spread."""
HALVES = (
    {
        "labelled": ("cookie", "magnetic_tile"),
        "mvtec": ("bottle",),
        "products": (
            "bare_pcb", "capsule", "solar_cell_mono4", "solar_cell_poly3", "solar_cell_poly4",
        ),
    },
    {
        "labelled": ("hazelnut_toy",),
        "products": (
            "asphalt_cfd", "asphalt_pavement", "ball_screw", "bracket_white", "concrete_pavement",
            "leather_plain", "metal_nut", "screw",
        ),
    },
)  # fmt: skip
"""No source is in both: a method that is fitted on other products is fitted on the other half."""
METHODS = {
    "feature_norm": "residual",
    "padim": "own",
    "patchcore": "own",
    "anomaly_dino": "own",
    "uniad_quick": "own",
    "resad_quick": "residual",
    "inp_former_quick": "own",
    "dinomaly_quick": "own",
    "cflow_quick": "own",
    "glass_quick": "own",
    "supersimplenet_quick": "own",
}
"""Method to the features that it was published on."""
ACROSS = ("resad_quick",)
"""Methods that are fitted on other products than they are tested on."""


def main(data: Path, out: Path, wanted: list[str]) -> None:
    """Run what is wanted, all unless something is named, and gather what lies in the folder."""
    for number, half in enumerate(HALVES):
        for product in (Path(folder, name) for folder, names in half.items() for name in names):
            for part in ("all", str(number)):
                take(data / product, out / "data" / part / product.name)
    for method in wanted or METHODS:
        for seed in SEEDS:
            if method in ACROSS:
                for tested, fitted in (("0", "1"), ("1", "0")):
                    other = ("train_data=folder", f"train_data.root={out}/data/{fitted}",
                             "train_data.num_workers=0")  # fmt: skip
                    run(out, tested, method, seed, *other)
            else:
                run(out, "all", method, seed)
            write_results(out)


def take(product: Path, target: Path) -> None:
    """Copy some images of a product, with their masks."""
    if target.exists():
        return
    good, test = product / "train" / "good", product / "test"
    kinds = {
        "train": [*good.iterdir()],
        "good": [*(test / "good").iterdir()],
        "defective": [path for path in test.glob("*/*") if path.parent.name != "good"],
    }
    for kind, paths in kinds.items():
        paths.sort()
        count = min(IMAGES[kind], len(paths))
        for image in (paths[number * len(paths) // count] for number in range(count)):
            masks = product / "ground_truth" / image.parent.name
            stems = (f"{image.stem}_mask.*", f"{image.stem}.*")
            for path in (image, *(mask for stem in stems for mask in masks.glob(stem))):
                copy = target / path.relative_to(product)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)


def run(out: Path, part: str, method: str, seed: int, *words: str) -> None:
    """Evaluate a method on all products of a part."""
    sys.argv = [
        "evaluate", "backbone=efficientnet_lite0", "data=folder", f"data.root={out}/data/{part}",
        "data.num_workers=0", f"cache.folder={out}/cache", "heatmaps=0", "device=cpu", "checks=1",
        f"method={method}", f"features=[{METHODS[method]}]", f"seed={seed}",
        f"hydra.run.dir={out}/runs/{method}_{part}_{seed}", *words,
    ]  # fmt: skip
    evaluate.main()


def write_results(out: Path) -> None:
    """A line for each product, method and seed."""
    rows = []
    for file in sorted(out.glob("runs/*/results.jsonl")):
        rows += [_row(record, file.parent.name) for record in read_records(file)]
    with (Path(__file__).parent / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("method", "product", "seed", *METRICS))
        writer.writerows(sorted(rows))


def _row(record: Record, folder: str) -> tuple[object, ...]:
    values = (f"{record.metrics[name]:.4f}" for name in METRICS)
    return (folder.rsplit("_", 2)[0], record.class_name, record.seed, *values)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
