"""Size, speed and equality of ONNX graphs against PyTorch, on real images; see README.md."""

import argparse
import csv
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from adpt import Inspector
from adpt.backbones import build_backbone
from adpt.inspection.inputs import find_images, picture_of
from adpt.projector import FeatureProjector
from adpt.running.memory import keep_freed_memory
from adpt.weights import save_projector

CASES = [
    ("patchcore", "own"),
    ("patchcore", "residual"),
    ("patchcore", "pretrained"),
    ("padim", "own"),
    ("padim", "residual"),
    ("padim", "pretrained"),
    ("feature_norm", "residual"),
    ("feature_norm", "pretrained"),
]
PEAK = """
import re, sys
from pathlib import Path
import numpy as np, onnxruntime
def peak():  # Not ru_maxrss, which begins with that of the process that started this one.
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
before = peak()
session.run(None, {"images": np.load(sys.argv[2])})
print(peak() - before)
"""
"""How far a process of its own grows by one run, in kB; it has loaded the graph before."""


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor time of one call, of all threads: other programs count less than in `seconds`."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def grown(graph: Path, images: torch.Tensor, folder: Path) -> float:
    """Memory in MB that a run of a graph takes beside the graph."""
    np.save(folder / "images.npy", images.numpy())
    command = [sys.executable, "-c", PEAK, graph, folder / "images.npy"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1e3


def in_turns(
    number_of_pairs: int,
    torch_side: Callable[[], object],
    onnx_side: Callable[[], object],
    time_of: Callable[[Callable[[], object]], float],
) -> list[float]:
    """Medians of both sides in seconds; median, lowest and highest ratio of pairs."""
    torch_side(), onnx_side()
    pairs = []
    for number in range(number_of_pairs):
        sides = (torch_side, onnx_side) if number % 2 else (onnx_side, torch_side)
        measured = [time_of(side) for side in sides]
        pairs.append(measured if number % 2 else measured[::-1])
    ratios = [ours / theirs for ours, theirs in pairs]
    medians = [statistics.median(side) for side in zip(*pairs, strict=True)]
    return [*medians, statistics.median(ratios), min(ratios), max(ratios)]


def scored(run: Callable[[torch.Tensor], tuple], images: torch.Tensor, batch: int) -> list:
    """Maps and image scores of all images, as float64."""
    parts = [run(images[start : start + batch])[:2] for start in range(0, len(images), batch)]
    return [np.concatenate(one).astype(np.float64) for one in zip(*parts, strict=True)]


def apart(one: list, other: list, what: int) -> np.ndarray:
    """Differences as shares of the range that the scores of all test images have."""
    return np.abs(one[what] - other[what]) / np.ptp(one[what])


def measure(
    given: argparse.Namespace, method: str, kind: str, projector: Path, folder: Path
) -> dict[str, object]:
    """One row of the results."""
    inspector = Inspector.fit(
        given.product / "train" / "good",
        method=method,
        features=kind,
        projector=projector if kind == "pretrained" else None,
        backbone={"name": given.backbone, "weights": given.weights},
        # Saves fitting with images left out: only whether decisions agree matters here.
        good_test=given.product / "test" / "good",
        shots=given.shots,
        device="cpu",
    )
    ours, theirs = folder / "m.adpt.safetensors", folder / "m.onnx"
    inspector.save(ours)
    took = seconds(lambda: inspector.export_onnx(theirs))
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = given.threads
    # Threads that wait busily for the next call would slow the other side's turn.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(theirs, settings, providers=["CPUExecutionProvider"])

    def in_torch(images: torch.Tensor) -> list:
        return [part.numpy() for part in inspector.scorer(images)]

    def in_onnx(images: torch.Tensor) -> list:
        return session.run(None, {"images": images.numpy()})

    files = find_images(given.product / "test", "test")[:: given.every]
    images = torch.stack([inspector.geometry.image(picture_of(file)) for file in files])
    expected, found = scored(in_torch, images, 8), scored(in_onnx, images, 8)
    decided = [part[1] > inspector.threshold for part in (expected, found)]
    row: dict[str, object] = {
        "method": method,
        "features": kind,
        "images": len(images),
        "onnx_mb": theirs.stat().st_size / 1e6,
        "safetensors_mb": ours.stat().st_size / 1e6,
        "export_s": took,
        "score_apart": apart(expected, found, 1).max(),
        "map_apart": apart(expected, found, 0).max(),
        "pixels_beyond": (apart(expected, found, 0) > 1e-4).mean(),
        "other_decisions": int((decided[0] != decided[1]).sum()),
    }
    for batch in (1, 8):
        some = images[:batch]
        figures = in_turns(
            given.pairs,
            lambda some=some: in_torch(some),
            lambda some=some: in_onnx(some),
            cpu_seconds if given.cpu_seconds else seconds,
        )
        names = ("torch_ms", "onnx_ms", "ratio", "ratio_low", "ratio_high")
        for name, value, scale in zip(names, figures, (1e3 / batch,) * 2 + (1,) * 3, strict=True):
            row[f"{name}_batch{batch}"] = value * scale
        row[f"grown_mb_batch{batch}"] = grown(theirs, some, folder)
    return row


def table(rows: list[dict]) -> str:
    """The rows as the README shows them."""
    lines = [
        "| method | features | ONNX MB | adpt MB | ms an image, batch 1: onnxruntime | PyTorch |"
        " ratio | batch 8: onnxruntime | PyTorch | ratio | score apart | map apart |"
        " pixels beyond 1e-4 | other decisions | MB at batch 1 | at batch 8 |",
        "| --- | --- |" + " ---: |" * 14,
    ]
    for row in rows:
        speed = [
            f"{row[f'onnx_ms_batch{batch}']:.0f} | {row[f'torch_ms_batch{batch}']:.0f} |"
            f" {row[f'ratio_batch{batch}']:.1f} ({row[f'ratio_low_batch{batch}']:.1f} to"
            f" {row[f'ratio_high_batch{batch}']:.1f})"
            for batch in (1, 8)
        ]
        equal = (
            f"{row['score_apart']:.0e} | {row['map_apart']:.0e} | {row['pixels_beyond']:.3%} |"
            f" {row['other_decisions']} | {row['grown_mb_batch1']:.0f} |"
            f" {row['grown_mb_batch8']:.0f}"
        )
        size = f"{row['onnx_mb']:.1f} | {row['safetensors_mb']:.1f}"
        cells = [row["method"], row["features"], size, *speed, equal]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure as the command line says."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("product", type=Path, help="a class's folder, in MVTec AD's layout")
    options.add_argument("--backbone", default="mobilenetv2")
    options.add_argument("--weights", help="local file of the backbone's weights")
    options.add_argument("--pairs", type=int, default=15, help="runs of either side")
    options.add_argument("--threads", type=int, default=2, help="of either side")
    options.add_argument("--cpu-seconds", action="store_true", help="on a machine with other work")
    options.add_argument("--shots", type=int, default=20, help="reference images")
    options.add_argument("--every", type=int, default=1, help="each which test image to compare")
    options.add_argument("--cases", nargs="+", default=["-".join(case) for case in CASES])
    options.add_argument("--results", type=Path, default=Path(__file__).with_name("results.csv"))
    given = options.parse_args()
    # As every command does.
    keep_freed_memory()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as scratch:
        torch.manual_seed(0)
        widths = build_backbone(given.backbone, weights=given.weights).channels
        untrained = Path(scratch) / "projector.safetensors"
        save_projector(FeatureProjector(widths, scale_by_references=True), untrained)
        rows = []
        for method, kind in [case.split("-") for case in given.cases]:
            rows.append(measure(given, method, kind, untrained, Path(scratch)))
            print(rows[-1], flush=True)
    with given.results.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(table(rows))


if __name__ == "__main__":
    main()
