"""anomalib's Patchcore on pretrained features, on one class in MVTec AD's layout; see README.md."""

import argparse
import random
from pathlib import Path

from anomalib.data import MVTecAD
from anomalib.engine import Engine

from adpt.anomalib import ResidualPatchcore


def main() -> None:
    """Fit and test as the command line says."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("root", type=Path, help="folder of the data set")
    options.add_argument("category", help="its class")
    options.add_argument("--backbone", default="clip_l")
    options.add_argument("--weights", help="local file of the backbone's weights")
    options.add_argument("--levels", type=int, nargs="+", help="levels of the backbone")
    options.add_argument("--projector", help="file or name on the hub; without: residual features")
    options.add_argument("--image-size", type=int, default=224)
    options.add_argument("--coreset", type=float, default=0.1)
    options.add_argument("--shots", type=int, default=8)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--references", nargs="+", help="normal images; without: drawn by seed")
    options.add_argument("--output", default="outputs/anomalib")
    given = options.parse_args()

    drawn = random.Random(given.seed)  # noqa: S311
    normal = sorted((given.root / given.category / "train" / "good").iterdir())
    model = ResidualPatchcore(
        references=given.references or [str(path) for path in drawn.sample(normal, given.shots)],
        backbone=given.backbone,
        weights=given.weights,
        levels=given.levels,
        projector=given.projector,
        image_size=given.image_size,
        coreset_sampling_ratio=given.coreset,
    )
    data = MVTecAD(
        given.root,
        given.category,
        train_batch_size=8,
        eval_batch_size=8,
        num_workers=0,
        seed=given.seed,
    )
    engine = Engine(accelerator="auto", default_root_dir=given.output, logger=False)
    engine.fit(model, datamodule=data)
    for name, value in engine.test(model, datamodule=data)[0].items():
        print(f"{name} {value:.4f}")


if __name__ == "__main__":
    main()
