"""Whole commands on a GPU, for gpu.py: a short pretraining, evaluation, fitting and inspection.

Images are rendered: those for pretraining in Real-IAD's layout (512 px, several views), four
products of MVTec AD's size to evaluate on. Weights are random.
"""

import csv
import json
import os
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from processes import Cost, process
from setups import run_here

from adpt.backbones.precision import Precision

REAL_IAD, EPOCHS = 151_050, 10
"""Images of Real-IAD, and how often the published training sees each."""
KINDS = ("train", "normal", "anomalous")
METRICS = ("image_auroc", "pixel_ap", "pixel_aupro")
RENDERED = """
import sys
from adpt.data.procedural import render_downstream_set, render_pretraining_set
root, train, normal, anomalous = sys.argv[1], *map(int, sys.argv[2:])
render_downstream_set(f"{root}/downstream", train=train, normal=normal, anomalous=anomalous)
render_pretraining_set(f"{root}/pretraining", normal=normal // 2, anomalous=anomalous // 4)
"""


def add_options(parser: ArgumentParser) -> None:
    """How large the commands' work is."""
    parser.add_argument("--network", default="vit_large_patch14_clip_224.openai", help="timm's")
    parser.add_argument("--steps", type=int, default=200, help="of the short pretraining")
    parser.add_argument("--rendered", type=int, nargs=3, default=(210, 40, 80), metavar="N",
                        help="images a product: to fit on, normal, anomalous")  # fmt: skip


def lines(asked: Namespace) -> Iterator[str]:
    """The tables, as Markdown."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_here(RENDERED, folder, *asked.rendered)
        commands = Commands(folder, asked.network, asked.device, asked.images, asked.rendered)
        yield "| short pretraining | images/s | hours for Real-IAD | seconds | peak MB, CPU |"
        yield "|---|---|---|---|---|"
        for precision in ("bf16-mixed", "32-true"):
            yield commands.pretraining(precision, asked.steps)
        yield ""
        yield "| evaluation | seconds | times float32 | warm cache | metrics, largest change |"
        yield "|---|---|---|---|---|"
        yield from commands.evaluations()
        yield ""
        yield "| `adpt.predict` | seconds | CPU seconds | peak MB, CPU |"
        yield "|---|---|---|---|"
        yield from commands.predictions()


@dataclass
class Commands:
    """Commands of a network on a device, their files in `folder`.

    Attributes:
        folder: Holds the rendered sets.
        network: timm's name.
        device: "cuda" or "cpu".
        images: In a step.
        rendered: Images a product of those to evaluate on: to fit on, normal, anomalous.
    """

    folder: Path
    network: str
    device: str
    images: int
    rendered: Sequence[int]

    def adpt(self, module: str, *options: str) -> Cost:
        """A command with the network, its weights drawn at random from one seed."""
        backbone = ("backbone=timm", f"backbone.name={self.network}", "backbone.pretrained=false")
        return run(module, *backbone, *options)

    def pretraining(self, precision: str, steps: int) -> str:
        """A row: the rate of the second half of an epoch, and what it means for Real-IAD."""
        out = self.folder / f"trained_{precision}"
        _, normal, anomalous = self.rendered
        cost = self.adpt(
            "train",
            "data=procedural",
            f"data.root={self.folder / 'pretraining'}",
            f"data.normal={normal // 2}",
            f"data.anomalous={anomalous // 4}",
            f"data.batch_size={self.images}",
            f"trainer={'gpu' if self.device == 'cuda' else 'cpu'}",
            f"trainer.precision={precision}",
            "trainer.max_epochs=2",
            f"trainer.limit_train_batches={max(1, steps // 2)}",
            "trainer.log_every_n_steps=1",
            "model.centre_images=4",
            f"output_dir={out}",
        )
        with (out / "metrics.csv").open(newline="") as file:
            rates = [float(row["data/images_per_second"]) for row in csv.DictReader(file)
                     if row.get("data/images_per_second")]  # fmt: skip
        later = sorted(rates[len(rates) // 2 :])
        rate = later[len(later) // 2]
        hours = REAL_IAD * EPOCHS / rate / 3600
        return row(precision, f"{rate:.1f}", f"{hours:.1f}", f"{cost.wall:.0f}", f"{cost.peak:.0f}")

    def evaluations(self) -> Iterator[str]:
        """A row a precision of the backbone: two methods on four products."""
        first: tuple[float, dict[str, dict[str, float]]] | None = None
        for precision in get_args(Precision):
            out = self.folder / f"evaluated_{precision}"
            options = (
                "data=procedural_downstream",
                f"data.root={self.folder / 'downstream'}",
                *(f"data.{name}={many}" for name, many in zip(KINDS, self.rendered, strict=True)),
                "method=[patchcore,padim]",
                "method.patchcore.coreset_ratio=0.01",
                "heatmaps=0",
                f"backbone.precision={precision}",
                f"device={self.device}",
                f"cache.folder={self.folder / f'cache_{precision}'}",
            )
            try:
                cold = self.adpt("evaluate", *options, f"output_dir={out}")
                warm = self.adpt("evaluate", *options, f"output_dir={out}_warm")
            except RuntimeError as error:
                yield row(precision, f"failed: {str(error).splitlines()[-1]}", "", "", "")
                continue
            found = metrics_of(out)
            seconds, exact = first = first or (cold.wall, found)
            changes = [
                f"{100 * max(abs(found[cell][name] - exact[cell][name]) for cell in exact):.2f}"
                for name in METRICS
            ]
            yield row(
                precision,
                f"{cold.wall:.0f}",
                f"{seconds / cold.wall:.2f}",
                f"{warm.wall:.0f}",
                " / ".join(changes) + " points",
            )

    def predictions(self) -> Iterator[str]:
        """Rows: fitting with a threshold, then the test images, on the device and on the CPU."""
        product = min((self.folder / "downstream").glob("*/train")).parent
        for device in dict.fromkeys((self.device, "cpu")):
            inspector = self.folder / f"{device}.adpt.safetensors"
            good = f"fit={product / 'train' / 'good'}"
            both = (f"inspector={inspector}", f"device={device}", "exit_code=false")
            out = f"output_dir={self.folder / f'inspected_{device}'}"
            fit = self.adpt("predict", good, "method=patchcore", *both, out)
            yield row(f"`fit=`, {device}", *figures(fit))
            pictures = f"images={product / 'test'}"
            score = run("predict", pictures, *both, out, "heatmaps=none")
            yield row(f"`images=`, {device}", *figures(score))


def run(module: str, *options: str) -> Cost:
    """A command on all of the machine's cores."""
    cores = {"OMP_NUM_THREADS": str(os.cpu_count())}
    return process([sys.executable, "-m", f"adpt.{module}", *options], cores)


def metrics_of(folder: Path) -> dict[str, dict[str, float]]:
    """A run's metrics, by class and method."""
    records = map(json.loads, (folder / "results.jsonl").read_text().splitlines())
    return {f"{one['class_name']} {one['method']}": one["metrics"] for one in records}


def figures(cost: Cost) -> tuple[str, str, str]:
    """What a process took."""
    return f"{cost.wall:.0f}", f"{cost.cpu:.0f}", f"{cost.peak:.0f}"


def row(*cells: str) -> str:
    """A line of a table."""
    return "| " + " | ".join(cells) + " |"
