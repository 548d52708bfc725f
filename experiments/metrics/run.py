"""The cost of metrics, intervals and the pictures' resolution: `run.py <out.csv> <product>...`."""

import csv
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import process_time
from typing import TypeVar

import numpy as np
import torch

from adpt.backbones import build_backbone
from adpt.data import Folder
from adpt.evaluation import encode_class
from adpt.evaluation.measuring import Measuring
from adpt.evaluation.run import score
from adpt.methods import PaDiM
from adpt.metrics import Aupimo, Aupro, IoUMax, Metric, Scored, SegF1, ranked_metrics
from adpt.metrics.intervals import intervals, resampled_images, resampled_rankings

T = TypeVar("T")
CPU = torch.device("cpu")
REPEATED = 100
"""Resamples whose images are really repeated."""


def further(scored: Scored) -> list[Metric]:
    """The metrics beside the seven; SegF1's threshold is fixed, so that it costs no second fit."""
    high = float(np.quantile(np.concatenate([one.ravel()[::101] for one in scored.maps]), 0.99))
    return [Aupro(0.05), Aupro(1.0), IoUMax(), Aupimo(), SegF1(high)]


def scores_of(product: Path) -> dict[str, Scored]:
    """A product's test images, scored by PaDiM on own features, at both resolutions."""
    data = Folder(root=product.parent, classes=[product.name], batch_size=16, num_workers=0)
    data.setup()
    encoded = encode_class(
        data, product.name, build_backbone("efficientnet_lite0"), shots=8, seed=0, device=CPU
    )
    method = PaDiM(224)
    method.fit(encoded.train.batches(16, CPU))
    scores = score(method, encoded.test, 16, CPU)
    samples = {str(sample.image): sample for sample in data.samples}
    return {
        name: Measuring(samples=samples, pictures=pictures).scored(scores, encoded.test)
        for name, pictures in (("network", None), ("picture", data.geometry))
    }


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What came out, and seconds of the processor."""
    started = process_time()
    found = work()
    return found, process_time() - started


def repeated(scored: Scored, how_often: np.ndarray) -> Scored:
    """A resample, its images beside each other."""
    rows = np.repeat(np.arange(len(scored)), how_often)
    maps, masks = np.asarray(scored.maps)[rows], np.asarray(scored.masks)[rows]
    return Scored(maps, masks, scored.labels[rows], scored.image_scores[rows])


def shift_of_ends(scored: Scored) -> tuple[float, float]:
    """How far groups of pixels move the ends of intervals, and CPU seconds without them."""
    weights = resampled_images(scored.labels, REPEATED)
    grouped = [ranked_metrics(rankings) for rankings in resampled_rankings(scored, weights)]
    started = process_time()
    whole = [ranked_metrics(repeated(scored, row).rankings) for row in weights]
    seconds = process_time() - started
    shifts = []
    for name in whole[0]:
        ends = [
            np.percentile([row[name] for row in rows], [2.5, 97.5]) for rows in (grouped, whole)
        ]
        shifts.append(float(np.abs(ends[0] - ends[1]).max()))
    return max(shifts), seconds


def measured(product: Path) -> Iterator[dict[str, object]]:
    """A row for each resolution."""
    for resolution, scored in scores_of(product).items():
        metrics = further(scored)
        seven, seconds_seven = timed(partial(Measuring().measure, scored))
        values = dict(seven)
        row: dict[str, object] = {
            "product": product.name,
            "resolution": resolution,
            "images": len(scored),
            "megapixels": round(sum(one.size for one in scored.maps) / 1e6, 2),
            "seconds_seven": round(seconds_seven, 3),
        }
        for metric in metrics:
            found, seconds = timed(partial(metric.measure, scored))
            values |= found
            row[f"seconds_{metric.names[0]}"] = round(seconds, 3)
        _, seconds = timed(partial(intervals, scored))
        row["seconds_intervals_of_seven"] = round(seconds, 3)
        every, seconds = timed(partial(intervals, scored, metrics))
        row["seconds_intervals_of_all"] = round(seconds, 3)
        if resolution == "network":
            shift, seconds = shift_of_ends(scored)
            row["shift_of_ends"], row["seconds_repeated"] = round(shift, 6), round(seconds, 3)
        row |= {name: round(value, 5) for name, value in values.items()}
        for name, (low, high) in every.items():
            row |= {f"{name}_low": round(low, 5), f"{name}_high": round(high, 5)}
        yield row


def coverage(images: int, sets: int = 300, resamples: int = 300) -> float:
    """Share of intervals of image AUROC that hold the true one, of so many images of each kind."""
    rng = np.random.default_rng(images)
    labels = np.arange(2 * images) >= images
    held = 0
    for _ in range(sets):
        scores = rng.normal(size=2 * images) + 1.5 * labels
        scored = Scored(np.zeros((2 * images, 1, 1)), None, labels, scores)
        low, high = intervals(scored, resamples=resamples)["image_auroc"]
        held += low <= 0.8556 <= high  # The normal distribution's value at 1.5 / √2.
    return held / sets


def main() -> None:
    """Measure the products, and how often intervals hold the truth."""
    torch.set_num_threads(1)
    out, *products = sys.argv[1:]
    rows = [row for product in products for row in measured(Path(product))]
    rows += [{"product": f"drawn, {n} of each kind", "coverage": coverage(n)} for n in (10, 20, 40)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    with Path(out).open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
