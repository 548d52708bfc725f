"""Fitted on some real products, tested on others: `run.py <folder of data/> <folder>`."""

import shutil
import subprocess
import sys
from pathlib import Path

LEARNED = ("labelled/cookie", "labelled/hazelnut_toy", "labelled/magnetic_tile",
           "products/ball_screw", "products/leather_plain")  # fmt: skip
TESTED = ("mvtec/bottle", "products/bare_pcb", "products/bracket_white",
          "products/solar_cell_mono4", "products/asphalt_pavement")  # fmt: skip
IMAGES = {"train": 24, "good": 12, "defective": 24}
"""How many of each kind are taken of a product."""


def main() -> None:
    """Take some images of each product, and evaluate."""
    shared, folder = Path(sys.argv[1]), Path(sys.argv[2])
    for name, products in (("learned", LEARNED), ("tested", TESTED)):
        for product in products:
            take(shared / product, folder / "data" / name / Path(product).name)
    sweep = ["shots=2,4,8"]
    fitted = [f"train_data.root={folder}/data/learned", "train_data=folder",
              "train_data.num_workers=0", "features=[residual]"]  # fmt: skip
    evaluate(folder, "cross_class", *sweep, *fitted, "method=[feature_norm,padim,resad_quick]")
    evaluate(folder, "few_shot", *sweep, "few_shot=true", "features=[own]", "method=patchcore")
    records = folder / "results" / "results.csv"
    report = [
        f"results={folder}/results",
        "formats=[csv]",
        "metrics=[image_auroc,pixel_ap,pixel_aupro]",
    ]
    run("report", *report)
    shutil.copy(records, Path(__file__).parent)


def take(product: Path, target: Path) -> None:
    """Copy evenly chosen images of a product, with their masks."""
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
            for path in (
                image,
                *masks.glob(f"{image.stem}_mask.*"),
                *masks.glob(f"{image.stem}.*"),
            ):
                copy = target / path.relative_to(product)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)


def evaluate(folder: Path, name: str, *words: str) -> None:
    """Run all jobs of a sweep on the tested products."""
    subdir = f"hydra.sweep.subdir={name}_${{shots}}"
    run(
        "evaluate", "-m", "data=folder", f"data.root={folder}/data/tested", "data.num_workers=0",
        "backbone=efficientnet_lite0", "device=cpu", "heatmaps=0", "checks=0",
        f"cache.folder={folder}/cache", f"hydra.sweep.dir={folder}/results", subdir, *words,
    )  # fmt: skip


def run(module: str, *words: str) -> None:
    """Run a command of adpt."""
    subprocess.run([sys.executable, "-m", f"adpt.{module}", *words], check=True)


if __name__ == "__main__":
    main()
