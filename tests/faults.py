"""What the tests of the examination plant in drawn sets, and what it then finds."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

import drawn
from adpt.data import AnomalyDataModule
from adpt.data.examination import examine

TRAIN, TEST = "train/good", "test/scratch"
MASK = "ground_truth/scratch/001_mask.png"


def found(data: AnomalyDataModule, published: bool = False) -> set[tuple[str, str]]:
    """Kind and path below the root of whatever is found, each told on one line."""
    findings = examine(data, workers=2, published=published).findings
    assert [finding.message for finding in findings if "\n" in finding.message] == []
    return {(finding.kind, str(finding.path.relative_to(data.root))) for finding in findings}


def distinct_views(root: Path) -> Path:
    """Draw anew what Real-IAD's drawn tree has twice: views under NG that show no defect."""
    for image in sorted(root.glob("realiad_512/*/NG/*/*/*_C[45]_*.jpg")):
        drawn.save(drawn.picture(image.stem, 0)[0], image)
    return root


def cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def claim(path: Path, side: int) -> None:
    """A PNG of some hundred bytes whose header claims side × side pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        sum_ = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", sum_)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def replaced(path: Path, values: np.ndarray, name: str) -> None:
    """Put an image of these values in the place of another, under a name of its own."""
    path.unlink()
    Image.fromarray(values).save(path.parent / name)


def link(path: Path, target: Path | str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def grey(path: Path, *values: int) -> None:
    mask = np.zeros((48, 48), np.uint8)
    mask[0, : len(values)] = values
    Image.fromarray(mask).save(path)
