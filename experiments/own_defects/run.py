"""Pretrain on a few of a product's own defects, or continue with them; see README.md.

python experiments/own_defects/run.py SHARED OUT [SEED ...]

SHARED holds data/ and weights/, OUT takes the runs. What is done already is not done again.
"""

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from itertools import product as product_of
from pathlib import Path

PRODUCTS = {"cookie": [4, 16], "magnetic_tile": [16, 80]}
"""Product to numbers of own defects, of the half of its defects that is not tested on."""
BATCH, STEPS = 16, 60
TRAINING = [
    "data=folder", f"data.batch_size={BATCH}", "data.num_workers=1", "model=reference_scale",
    "model.projector.num_references=256", "model.centre_images=10", "references.pool_size=9",
    "trainer=cpu", "callbacks.progress=null",
]  # fmt: skip


def main(shared: Path, out: Path, seeds: Sequence[int]) -> None:
    """Pretrain on drawn products, then for each product and number of defects, and score all."""
    backbone = [
        "backbone=mobilenetv2", "backbone.levels=[2,3,4]",
        f"backbone.weights={shared / 'weights/mobilenetv2_100.safetensors'}",
    ]  # fmt: skip
    drawn = out / "drawn/projector.safetensors"
    run("train", drawn.parent, [
        *backbone, *TRAINING, "data=procedural", "model.optimizer.lr=1e-3", "trainer.max_epochs=5",
        "trainer.limit_train_batches=30", "model.scheduler.milestones=[3,4]",
    ])  # fmt: skip
    for product, numbers in PRODUCTS.items():
        source = shared / "data/labelled" / product
        own, tested = halves(source)
        test = lay_out(source, out / "sets" / f"{product}_test", ["train", "test"], tested)
        everything = [*backbone, "data=folder", f"data.root={test}", "method=training_free"]
        run("evaluate", out / product / "drawn", [*everything, f"projector={drawn}"])
        for number in numbers:
            # Good test images stay out: they are measured on.
            root = lay_out(source, out / "sets" / f"{product}_{number}", ["train"], own[:number])
            epochs = round(STEPS / (sum(1 for _ in root.glob("*/t*/*/*")) // BATCH))
            training = [
                *backbone, *TRAINING, f"data.root={root}", f"trainer.max_epochs={epochs}",
                f"model.scheduler.milestones=[{round(0.6 * epochs)},{round(0.8 * epochs)}]",
            ]  # fmt: skip
            starts = {"scratch": ["model.optimizer.lr=1e-3"],
                      "continued": ["model.optimizer.lr=3e-4", f"projector={drawn}"]}  # fmt: skip
            for seed, (start, options) in product_of(seeds, starts.items()):
                folder = out / product / f"{start}_{number}_{seed}"
                run("train", folder / "training", [*training, *options], seed)
                projector = folder / "training/projector.safetensors"
                scoring = [*everything, f"projector={projector}", "features=[pretrained]"]
                run("evaluate", folder / "scores", scoring, seed)


def halves(product: Path) -> tuple[list[Path], list[Path]]:
    """Defective images of every kind in turn: a half to learn from, a half to test on."""
    kinds = []
    for folder in sorted((product / "test").iterdir()):
        images = sorted(folder.iterdir())
        random.Random(0).shuffle(images)  # noqa: S311
        if folder.name != "good":
            kinds.append((images[: len(images) // 2], images[len(images) // 2 :]))
    own = [image for turn in zip(*(kind[0] for kind in kinds), strict=True) for image in turn]
    return own, [image for kind in kinds for image in kind[1]]


def lay_out(source: Path, root: Path, goods: Sequence[str], defects: Sequence[Path]) -> Path:
    """A data root with links to good images, some defects and their masks."""
    good = [image for part in goods for image in sorted((source / part / "good").iterdir())]
    masks = [
        mask
        for image in defects
        for mask in (source / "ground_truth" / image.parent.name).glob(f"{image.stem}[._]*")
    ]
    for file in (*good, *defects, *masks):
        link = root / source.name / file.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(file)
    return root


def run(entry: str, folder: Path, options: Sequence[str], seed: int = 0) -> None:
    """Run an entry, unless it ran to the end before."""
    done = folder / "done.json"
    if done.exists():
        return
    given = list({option.split("=")[0]: option for option in options}.values())
    command = [
        sys.executable,
        "-m",
        f"adpt.{entry}",
        *given,
        f"hydra.run.dir={folder}",
        f"seed={seed}",
    ]
    print("==", " ".join(command), flush=True)
    subprocess.run(command, check=True)
    done.write_text(json.dumps(command))


if __name__ == "__main__":
    main(
        *(Path(arg).absolute() for arg in sys.argv[1:3]), [int(arg) for arg in sys.argv[3:]] or [0]
    )
