"""What encoding one large picture takes, whole or in windows: `memory.py whole|windows`."""

import resource
import sys
import time

import torch

from adpt.backbones import build_backbone

SIDE, WINDOW = 2016, 224


def main(seen: str) -> None:
    """Print the peak of memory beside what is held before, and CPU seconds."""
    windows = WINDOW if seen == "windows" else None
    backbone = build_backbone("efficientnet_lite0", image_size=SIDE, windows=windows)
    image = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    before, started = peak(), time.process_time()
    backbone(image)
    print(f"{seen}: {peak() - before:.0f} MB, {time.process_time() - started:.1f} CPU s")


def peak() -> float:
    """The most that the process has held, in MB of 2^20 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(sys.argv[1])
