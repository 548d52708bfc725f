"""All methods on real products with short trainings; see README.md.

python experiments/today/run.py <data> <folder for runs> [<method> ...]

<data> holds products/, labelled/ and mvtec/. Started again, it skips what is recorded; results.csv
beside this file is written anew from all runs in the folder.
"""

import csv
import sys
from pathlib import Path

from adpt import evaluate
from adpt.results import Record, read_records

SEEDS = (0, 1, 2)
METRICS = ("image_auroc", "pixel_ap", "pixel_aupro")
PRODUCTS = {
    "labelled": ("cookie", "hazelnut_toy", "magnetic_tile"),
    "mvtec": ("bottle",),
    "products": (
        "asphalt_cfd", "asphalt_pavement", "ball_screw", "bare_pcb", "bracket_white", "capsule",
        "concrete_pavement", "leather_plain", "metal_nut", "screw", "solar_cell_mono4",
        "solar_cell_poly3", "solar_cell_poly4",
    ),
}  # fmt: skip
FEW = ("asphalt_cfd", "asphalt_pavement", "bottle", "capsule", "concrete_pavement", "cookie",
       "hazelnut_toy", "leather_plain", "metal_nut")  # fmt: skip
"""Products of at most 78 images to train on: what trains long is run on these first."""
METHODS = {
    "feature_norm": "features=[residual]",
    "padim": "features=[own]",
    "patchcore": "features=[own]",
    "anomaly_dino": "features=[own]",
    "supersimplenet_quick": "features=[own]",
    "cflow_quick": "features=[own]",
    "uniad_quick": "features=[own]",
    "dinomaly_quick": "features=[own]",
    "inp_former_quick": "features=[own]",
    "glass_quick": "features=[own]",
}
"""Method to the features that it was published on."""


def main(data: Path, out: Path, wanted: list[str]) -> None:
    """Run what is wanted, all unless something is named, and gather what lies in the folder."""
    links = out / "products"
    links.mkdir(parents=True, exist_ok=True)
    for folder, names in PRODUCTS.items():
        for name in names:
            link = links / name
            if not link.exists():
                link.symlink_to((data / folder / name).absolute())
    common = (
        "backbone=efficientnet_lite0", "data=folder", f"data.root={links}", "data.num_workers=0",
        f"cache.folder={out}/cache", "heatmaps=0", "device=cpu", "checks=1",
    )  # fmt: skip
    rest = [name for names in PRODUCTS.values() for name in names if name not in FEW]
    for seed in SEEDS:
        for classes in (FEW, rest):
            for method, features in METHODS.items():
                if wanted and method not in wanted:
                    continue
                folder = out / f"{method}_{'few' if classes is FEW else 'rest'}_{seed}"
                sys.argv = [
                    "evaluate", *common, f"method={method}", features, f"seed={seed}",
                    f"data.classes=[{','.join(classes)}]",
                    f"hydra.run.dir={folder}",
                ]  # fmt: skip
                evaluate.main()
                write_results(out)


def write_results(out: Path) -> None:
    """A line for each product, method and seed."""
    rows = []
    for folder in sorted(out.glob("*_[0-9]")):
        if (folder / "results.jsonl").exists():
            rows += [_row(record, folder) for record in read_records(folder)]
    with (Path(__file__).parent / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("method", "product", "seed", *METRICS, "fit_s", "ms_per_image"))
        writer.writerows(sorted(rows))


def _row(record: Record, folder: Path) -> tuple[object, ...]:
    values = (f"{record.metrics[name]:.4f}" for name in METRICS)
    each = 1000 * record.seconds["score"] / record.counts["test"]
    fit = f"{record.seconds['fit']:.1f}"
    method = folder.name.rsplit("_", 2)[0]
    return (method, record.class_name, record.seed, *values, fit, f"{each:.1f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
