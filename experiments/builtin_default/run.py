"""Inspect real products with own features and with the built-in projector; see README.md.

python experiments/builtin_default/run.py <data>

<data> holds mvtec/, labelled/ and products/. Rows are appended to results.csv beside this file;
what is there is not done again.
"""

import csv
import logging
import sys
import time
import warnings
from pathlib import Path

import torch
from sklearn.metrics import f1_score, precision_recall_curve, roc_auc_score

import adpt

RESULTS = Path(__file__).with_name("results.csv")
COLUMNS = ("product", "method", "features", "good", "auroc", "best_f1", "f1", "false_alarms",
           "missed", "fit_s", "ms_per_image")  # fmt: skip
KINDS = {
    "padim": {"own": {}, "builtin": {"projector": "builtin"}},
    "feature_norm": {"residual": {}, "builtin": {"projector": "builtin"}},
}
MOST, TESTED = 60, 30
"""Good pictures to fit on, and good and defective ones to test on, at most."""


def main(data: Path) -> None:
    """Fit and test every product."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if not RESULTS.exists():
        RESULTS.write_text(",".join(COLUMNS) + "\n")
    with RESULTS.open(newline="") as lines:
        known = {(row["product"], row["method"], row["features"]) for row in csv.DictReader(lines)}
    for product in sorted(folder.parents[1] for folder in data.glob("*/*/train/good")):
        for method, kinds in KINDS.items():
            for features, options in kinds.items():
                if (product.name, method, features) in known:
                    continue
                row = inspected(product, method, options)
                with RESULTS.open("a", newline="") as lines:
                    csv.writer(lines).writerow((product.name, method, features, *row))
                print(product.name, method, features, *row, flush=True)


def inspected(product: Path, method: str, options: dict) -> tuple:
    """Verdicts at the default threshold, against the best one for the test pictures."""
    good = evenly(sorted((product / "train/good").iterdir()), MOST)
    normal = evenly(sorted((product / "test/good").iterdir()), TESTED)
    bad = [path for path in sorted((product / "test").glob("*/*")) if path.parent.name != "good"]
    tested = [*normal, *evenly(bad, TESTED)]
    labels = [int(path.parent.name != "good") for path in tested]
    start = time.process_time()
    inspector = adpt.Inspector.fit(good, method=method, device="cpu", **options)
    fitted = time.process_time()
    scores = [one.score for one in inspector.predict_many(tested)]
    took = 1000 * (time.process_time() - fitted) / len(tested)
    precision, recall, _ = precision_recall_curve(labels, scores)
    best = (2 * precision * recall / (precision + recall).clip(1e-9)).max()
    verdicts = [int(score > inspector.threshold) for score in scores]
    alarms = sum(v > label for v, label in zip(verdicts, labels, strict=True))
    missed = sum(v < label for v, label in zip(verdicts, labels, strict=True))
    shares = (roc_auc_score(labels, scores), best, f1_score(labels, verdicts),
              alarms / len(normal), missed / sum(labels))  # fmt: skip
    times = (f"{fitted - start:.1f}", f"{took:.0f}")
    return (len(good), *(f"{share:.4f}" for share in shares), *times)


def evenly(paths: list[Path], most: int) -> list[Path]:
    """At most so many, evenly spaced."""
    count = min(most, len(paths))
    return [paths[len(paths) * i // count] for i in range(count)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
