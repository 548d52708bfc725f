"""Run each choice of `protocol=paper` alone and all together beside `clean`; see README.md.

python experiments/protocols/run.py <data> <mobilenetv2's weights> <folder for runs> [<part> ...]

<data> holds products/, labelled/ and mvtec/; a part is a stage, or <stage>/<choice>. Started again,
it skips what is recorded; results.csv beside this file is written anew from all runs in the folder.
"""

import csv
import sys
from pathlib import Path

from adpt import evaluate
from adpt.evaluation.epochs import best_of
from adpt.results import Record, read_records

SEEDS = (0, 1)
METRICS = ("image_auroc", "pixel_ap", "pixel_aupro")
PRODUCTS = (
    "labelled/cookie", "labelled/hazelnut_toy", "labelled/magnetic_tile", "mvtec/bottle",
    "products/asphalt_cfd", "products/ball_screw", "products/bracket_white",
    "products/leather_plain",
)  # fmt: skip
FEW = "data.classes=[asphalt_cfd,bottle,cookie,hazelnut_toy]"
"""Products of few training images, for what trains long."""
CROP = ("data.resize=224", "data.as_torchvision=true")
CFLOW = ("method=[cflow_quick]", "method.cflow.epochs=8", FEW)
UNIAD = ("method=[uniad_quick]", "method.uniad.epochs=8", FEW)
GLASS = ("method=[glass_quick]", "method.glass.epochs=8", "defects.draw.foreground=estimate", FEW)

# Stage to the choices made in it, by what sets them; `clean` is what they are held against.
STAGES: dict[str, dict[str, tuple[str, ...]]] = {
    "training_free": {
        "clean": ("method=[feature_norm,padim,patchcore]",),
        "paper": ("method=[feature_norm,padim,patchcore]", "protocol=paper"),
        "geometry": ("method=[feature_norm,padim]", *CROP),
        "self match": ("method=[padim]", "published.self_match=true"),
        "aligned": ("method=[feature_norm]", "aligned=10"),
        "coreset": (
            "method=[patchcore]", "method.patchcore.projection_dim=128",
            "method.patchcore.num_starts=10", FEW,
        ),
    },
    "cflow": {
        "clean": (*CFLOW, "checks=8"),
        "paper": (*CFLOW, "protocol=paper"),
        "maps": (*CFLOW, "checks=1", "method.cflow.published_maps=true"),
        "last batch": (*CFLOW, "checks=1", "method.cflow.drop_last=true"),
    },
    "uniad": {
        "clean": (*UNIAD, "checks=4"),
        "paper": (*UNIAD, "protocol=paper"),
        "last batch": (*UNIAD, "checks=1", "method.uniad.drop_last=true"),
    },
    "glass": {
        "clean": (*GLASS, "checks=8"),
        "paper": (*GLASS, "protocol=paper", "defects.draw.foreground=none"),
        "drawing": (*GLASS, "checks=1", "defects.draw.published=true"),
        "masks": (*GLASS, "checks=1", "data.mask_resize=within"),
        "foreground": (*GLASS, "checks=1", "defects.draw.foreground=none"),
        "new defects": (*GLASS, "checks=1", "defects.refresh=1"),
    },
}  # fmt: skip


def main(data: Path, weights: Path, out: Path, wanted: list[str]) -> None:
    """Run what is wanted, all unless something is named, and gather what lies in the folder."""
    links = out / "products"
    links.mkdir(parents=True, exist_ok=True)
    for product in PRODUCTS:
        link = links / Path(product).name
        if not link.exists():
            link.symlink_to((data / product).absolute())
    common = (
        "backbone=mobilenetv2", f"backbone.weights={weights}", "backbone.levels=[3,4]",
        "data=folder", f"data.root={links}", "data.num_workers=0", f"cache.folder={out}/cache",
        "features=[residual]", "heatmaps=0", "device=cpu",
    )  # fmt: skip
    for seed in SEEDS:
        for stage, choices in STAGES.items():
            for choice, words in choices.items():
                if wanted and not {stage, f"{stage}/{choice}"} & set(wanted):
                    continue
                folder = out / f"{stage}_{choice.replace(' ', '_')}_{seed}"
                words = (*common, *words, *_seeds(choice, stage, seed))
                sys.argv = ["evaluate", *words, f"hydra.run.dir={folder}"]
                evaluate.main()
                write_results(out)


def _seeds(choice: str, stage: str, seed: int) -> list[str]:
    """Each run draws anew, under `paper` too, which fixes the seeds of trained methods."""
    fixed = {"cflow": 0, "uniad": 133, "glass": 0}
    own = [f"method.{stage}.seed={fixed[stage] + seed}"] if stage in fixed else []
    return [f"seed={seed}", *(own if choice == "paper" else [])]


def write_results(out: Path) -> None:
    """A line for each product, method, choice and seed; best checks have lines of their own."""
    rows = []
    for stage, choices in STAGES.items():
        for choice in choices:
            for seed in SEEDS:
                folder = out / f"{stage}_{choice.replace(' ', '_')}_{seed}"
                if not (folder / "results.jsonl").exists():
                    continue
                for record in read_records(folder):
                    rows += _rows(record, choice, seed)
    with (Path(__file__).parent / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("method", "choice", "product", "seed", *METRICS))
        writer.writerows(sorted(rows))


def _rows(record: Record, choice: str, seed: int) -> list[tuple[object, ...]]:
    def row(choice: str, metrics: dict[str, float]) -> tuple[object, ...]:
        values = (f"{metrics[name]:.4f}" for name in METRICS)
        return (record.method, choice, record.class_name, seed, *values)

    rows = [row(choice, record.metrics)]
    if choice == "clean" and len(record.history) > 1:
        rows.append(row("best check", best_of(record.history, record.metrics)[0]))
    return rows


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), sys.argv[4:])
