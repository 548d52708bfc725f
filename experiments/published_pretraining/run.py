"""Pretrain as the authors did, in bfloat16 and in float32, and look at both.

Arguments: the folder of labelled/, and seeds; see README.md.
"""

import csv
import sys
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning import Callback

from adpt.data import Folder
from adpt.evaluation import encode_class, run_methods
from adpt.methods import FeatureNorm
from adpt.pretraining import PublishedPretraining
from adpt.running.devices import seed_everything

HERE = Path(__file__).resolve().parent
STEPS = 25
WORDS = [
    "model=published", "backbone=efficientnet_lite0", "backbone.levels=[2,3]", "trainer=cpu",
    "data=folder", "data.classes=[hazelnut_toy,magnetic_tile]", "data.batch_size=4",
    "data.num_workers=0", "data.image_size=128", "data.resize=128",
    "references.pool_size=9", "model.scale_levels=true",
    "model.centre_images=5", f"+trainer.max_steps={STEPS}", "trainer.max_epochs=1000",
    "trainer.log_every_n_steps=1000", "trainer.enable_progress_bar=false", "output_dir=.",
]  # fmt: skip
METHODS = {"feature_norm": partial(FeatureNorm, 128)}
FIGURES = ("image_auroc", "pixel_ap", "pixel_aupro")


class InFloat32(PublishedPretraining):
    """The same steps, with nothing rounded to half precision."""

    precision: ClassVar[torch.dtype] = torch.float32


class Moved(Callback):
    """The share of the learnable references that are no longer what they were."""

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Note them as they are."""
        self.first = self._references(module).clone()
        self.shares: dict[int, float] = {}

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        """Compare them after 25 steps and at the end."""
        if trainer.global_step in (5, STEPS):
            moved = self._references(module) != self.first
            self.shares[trainer.global_step] = moved.float().mean().item()

    def _references(self, module: Any) -> torch.Tensor:
        return torch.cat([one.references.detach().flatten() for one in module.projector.blocks])


def main(root: Path, seeds: list[int]) -> None:
    """Train both ways with every seed, evaluate, and write results.csv."""
    rows: list[dict[str, Any]] = []
    tests = [Folder(root / "labelled", ["cookie"], image_size=128, num_workers=0)]
    encoded: dict[str, Any] = {}
    for seed in seeds:
        for precision, kind in (("bfloat16", PublishedPretraining), ("float32", InFloat32)):
            seed_everything(seed)
            with initialize_config_dir(str(HERE.parents[1] / "conf"), version_base="1.3"):
                words = [f"data.root={root / 'labelled'}", f"seed={seed}", "run_name=x"]
                config = compose("train", [*WORDS, *words])
            backbone = instantiate(config.backbone)
            for data in tests if not encoded else []:
                data.setup()
                for name in data.classes:
                    encoded[name] = encode_class(
                        data, name, backbone, shots=8, seed=0, device=torch.device("cpu")
                    )
            del config.model._target_
            options = instantiate(config.model, _convert_="all")
            references = instantiate(config.references)
            module = kind(**options, backbone=backbone, references=references)
            moved = Moved()
            trainer = instantiate(
                config.trainer, logger=False, callbacks=[moved], enable_checkpointing=False
            )
            trainer.fit(module, datamodule=instantiate(config.data))
            print(precision, moved.shares, flush=True)
            projector = module.projector.float().eval()
            for name, data in encoded.items():
                kinds = ["residual", "pretrained"] if precision == "bfloat16" else ["pretrained"]
                for outcome in run_methods(
                    data,
                    METHODS,
                    kinds,
                    projector=projector,
                    batch_size=32,
                    device=torch.device("cpu"),
                ):
                    rows.append({
                        "seed": seed, "product": name, "method": outcome.method,
                        "features": outcome.kind if outcome.kind == "residual" else precision,
                        **{figure: round(outcome.metrics[figure], 4) for figure in FIGURES},
                        **{f"moved_{n}": round(s, 4) for n, s in moved.shares.items()},
                    })  # fmt: skip
                    print(rows[-1], flush=True)
    with (HERE / "results.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(seed) for seed in sys.argv[2:]] or [42])
