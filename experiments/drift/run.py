"""How often a drift notice is false, and how soon it comes where pictures have changed; README.md.

python experiments/drift/run.py <scores of experiments/thresholds/collect.py> <folder of data>
"""

import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from adpt import Inspector
from adpt.inspection import Inspection
from adpt.inspection.drift import Drift, DriftRule
from adpt.inspection.inputs import find_images, picture_of
from adpt.inspection.limits import GoodScores
from adpt.inspection.threshold import from_rate

Change = Callable[[Image.Image], Image.Image]
Cells = tuple[object, ...]

METHODS = ("patchcore", "padim", "feature_norm")
FITTED = 30
"""Good pictures that PaDiM is fitted on, at most, for changed pictures."""
RUNS, LENGTH = 20, 200
"""Sequences drawn with replacement from the good test pictures, and their length."""
CHOSEN_ON = {
    "ball_screw", "capsule", "cookie", "leather_plain", "magnetic_tile",
    "solar_cell_mono4", "solar_cell_poly3", "solar_cell_poly4",
}  # fmt: skip
"""Half of the products, as in experiments/thresholds; the others are reported."""
CHANGES: dict[str, Change] = {
    "none": lambda picture: picture,
    "10 % darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.9),
    "30 % darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.7),
    "blurred by 1/200": lambda picture: picture.filter(
        ImageFilter.GaussianBlur(max(picture.size) / 200)
    ),
    "moved by 3 %": lambda picture: ImageChops.offset(picture, round(0.03 * picture.width), 0),
}
WINDOWS = (20, 30, 50)
LIMITS = (3.0, 4.0, 5.0, 6.0)
HEAD = (
    "product", "half", "method", "good", "change", "window", "limit", "above", "below",
    "images_until", "anomalous",
)  # fmt: skip


def main(scores: Path, data: Path) -> None:
    """Write results.csv, of good test pictures and of changed ones."""
    with Path(__file__).with_name("results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)
        for path in sorted(scores.glob("*.npz")):
            writer.writerows(unchanged(path))
        for product in sorted(folder.parents[1] for folder in data.glob("*/*/train/good")):
            writer.writerows(changed(product))
            file.flush()
            print(product.name, flush=True)


def unchanged(path: Path) -> Iterator[Cells]:
    """Good test pictures of a product, by the scores that were collected for thresholds."""
    found = dict(np.load(path))
    for key in found:
        size, method, what = key.split("/") if key.endswith("/test") else ("0", "", "")
        if what and method in METHODS and int(size) >= 10:
            fit = found[f"{size}/{method}/one_bank"][:, 0].astype(float)
            test = found[key][~found["labels"], 0].astype(float)
            start = (path.stem, half(path.stem), method, int(size), "none")
            yield from measured(start, fit, test, from_rate(fit, 0.05, "").value)


def changed(product: Path) -> Iterator[Cells]:
    """Good test pictures of a product, each changed in some way, by PaDiM."""
    good = find_images(product / "train/good", "fit")
    order = np.random.default_rng(0).permutation(len(good))[:FITTED]
    if len(order) < 10:
        return
    inspector = Inspector.fit([good[row] for row in sorted(order)], method="padim", device="cpu")
    pictures = [picture_of(path) for path in find_images(product / "test/good", "images")[:30]]
    for name, change in CHANGES.items():
        found = inspector.predict_many([change(one) for one in pictures])
        test = np.array([one.score for one in found if isinstance(one, Inspection)])
        start = (product.name, half(product.name), "padim, EfficientNet-Lite0", len(order), name)
        fit = np.array(inspector.grounds.good)
        yield from measured(start, fit, test, inspector.threshold)


def half(product: str) -> str:
    """Which half a product belongs to."""
    return "chosen on" if product in CHOSEN_ON else "reported"


def measured(
    start: tuple[object, ...], fit: np.ndarray, test: np.ndarray, threshold: float
) -> Iterator[Cells]:
    """For each window and limit: shares of sequences with a notice, and images until it."""
    nothing = np.zeros((1, 1), np.float32)
    images = [Inspection(None, s, bool(s > threshold), threshold, nothing) for s in test.tolist()]
    for window in WINDOWS:
        generator = np.random.default_rng(1)
        values = np.full((RUNS, LENGTH), np.nan)
        for run in range(RUNS):
            drift = Drift(DriftRule(window=window), GoodScores.robust(fit))
            for place, image in enumerate(generator.integers(len(images), size=LENGTH)):
                drift.add(images[image])
                values[run, place] = np.nan if drift.value is None else drift.value
        for limit in LIMITS:
            above, below = values > limit, values < -limit
            until = [int(row.argmax()) + 1 for row in above if row.any()]
            shares = (round(part.any(1).mean(), 4) for part in (above, below))
            soon = float(np.median(until)) if until else ""
            beyond = round(float(np.mean(test > threshold)), 4)
            yield (*start, window, limit, *shares, soon, beyond)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
