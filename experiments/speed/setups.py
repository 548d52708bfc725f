"""What both sides are given: pictures, a backbone with its weights, and their commands."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import GIVING_BACK, HERE, Cost, process

NEEDED = ("ADPT_ANOMALIB_PYTHON", "ADPT_SPEED_WEIGHTS", "ADPT_SPEED_PRODUCT")
"""An interpreter with anomalib, a file of MobileNetV2's weights in timm's naming, and a product in
MVTec AD's layout."""
PYTHON, WEIGHTS, PRODUCT = (os.environ.get(name, "") for name in NEEDED)
SIZE, BATCH = 224, 8

PICTURES = """
import sys
from pathlib import Path
from PIL import Image
source, folder = map(Path, sys.argv[1:3])
many, side = map(int, sys.argv[3:])
good = sorted((source / "train/good").iterdir())
for number in range(many):
    turn, which = divmod(number, len(good))
    path = folder / "good" / f"{number:04}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.open(good[which]).convert("RGB").rotate(90 * turn)
    picture.resize((side, side)).save(path, compress_level=1)
for path in sorted((source / "test").glob("*/*.*")):
    kind = "good" if path.parent.name == "good" else "bad"
    target = folder / "test" / kind / f"{path.parent.name}_{path.stem}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.open(path).convert("RGB").resize((side, side)).save(target, compress_level=1)
"""

RANDOM = """
import sys, timm, torch
from safetensors.torch import save_file
torch.manual_seed(0)
save_file(timm.create_model(sys.argv[1]).state_dict(), sys.argv[2])
"""


def ready() -> bool:
    """True if all is named that both sides need; else it says what is missing."""
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        print(f"left out, for want of {', '.join(missing)}", file=sys.stderr)
    return not missing


def run_here(code: str, *arguments: object) -> None:
    """Run code in a process of its own, so that this one stays small."""
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True)


@dataclass(frozen=True)
class Setup:
    """A method on a backbone, for both sides.

    Attributes:
        method: "patchcore" or "padim".
        backbone: timm's name.
        weights: Their file.
        levels: As our backbone counts them.
        layers: The same as anomalib names them.
        channels: Of all levels together.
        ours: Our backbone's options.
        arguments: Of timm's network where they are not timm's own.
    """

    method: str
    backbone: str
    weights: str
    levels: tuple[int, ...]
    layers: tuple[str, ...]
    channels: int
    ours: tuple[str, ...]
    arguments: tuple[tuple[str, str], ...] = ()
    coreset: float = 0.01

    def command(self, folder: Path, *options: str) -> Cost:
        """Our command, its files in `folder`."""
        return process(
            [
                *(sys.executable, "-m", "adpt.predict"),
                f"inspector={folder / 'own.adpt.safetensors'}",
                f"output_dir={folder / 'own'}",
                f"batch_size={BATCH}",
                "exit_code=false",
                *options,
            ]
        )

    def fit(self, folder: Path, good: Path, *options: str) -> Cost:
        """Our command with `fit=`."""
        coreset = [f"method.patchcore.coreset_ratio={self.coreset}"]
        return self.command(
            folder,
            f"fit={good}",
            f"method={self.method}",
            *(coreset if self.method == "patchcore" else []),
            *self.ours,
            f"backbone.weights={self.weights}",
            f"backbone.levels=[{','.join(map(str, self.levels))}]",
            f"data.image_size={SIZE}",
            *options,
        )

    def theirs(self, do: str, folder: Path, **job: Any) -> Cost:
        """A job of anomalib's, its files in `folder`."""
        normal = [0.5] * 3
        given: dict[str, Any] = {
            "do": do,
            "folder": str(folder),
            "method": self.method,
            "backbone": self.backbone,
            "weights": self.weights,
            "layers": self.layers,
            "features": self.channels,
            "arguments": dict(self.arguments),
            "coreset": self.coreset,
            "size": SIZE,
            "batch": BATCH,
            "mean": normal,
            "std": normal,
            "heatmaps": True,
        }
        return process(
            [PYTHON, str(HERE / "anomalib_runner.py"), json.dumps(given | job)],
            GIVING_BACK if do.startswith("fit") else None,
        )


def mobilenet(method: str) -> Setup:
    """On MobileNetV2 with its ImageNet weights, strides 8 and 16."""
    return Setup(
        method,
        "mobilenetv2_100",
        WEIGHTS,
        (2, 3),
        ("blocks.2", "blocks.4"),
        32 + 96,
        ("backbone=mobilenetv2",),
        (("pad_type", "same"),),
    )


def transformer(method: str, folder: Path) -> Setup:
    """On a ViT-B/16 of random weights, blocks 6 and 12."""
    file, name = folder / "vit.safetensors", "vit_base_patch16_224"
    run_here(RANDOM, name, file)
    return Setup(
        method,
        name,
        str(file),
        (5, 11),
        ("blocks.5", "blocks.11"),
        2 * 768,
        ("backbone=timm", f"backbone.name={name}", "backbone.mean=[0.5,0.5,0.5]",
         "backbone.std=[0.5,0.5,0.5]"),
    )  # fmt: skip


def image_auroc(paths: Sequence[str], scores: Sequence[float]) -> float:
    """Image AUROC in percent: pairs of a bad and a good picture in order, ties by half."""
    kinds: dict[str, list[float]] = {"good": [], "bad": []}
    for path, score in zip(paths, scores, strict=True):
        kinds[Path(path).parent.name].append(score)
    pairs = [(bad, good) for bad in kinds["bad"] for good in kinds["good"]]
    return 100 * sum((bad > good) + (bad == good) / 2 for bad, good in pairs) / len(pairs)
