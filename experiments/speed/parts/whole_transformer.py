"""As parts/whole.py, on a ViT-B of random weights."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from measuring import Row
from setups import PICTURES, PRODUCT, ready, run_here, transformer

from parts.whole import MANY, SIDE, fitted


def rows() -> Iterator[Row]:
    """Both methods."""
    if not ready():
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_here(PICTURES, PRODUCT, folder, MANY, SIDE)
        for method in ("patchcore", "padim"):
            setup = transformer(method, folder)
            yield from fitted(setup, folder, "ViT-B/16 of random weights, blocks 6 and 12")
