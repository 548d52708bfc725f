"""How prediction grows with images."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from growing import PRODUCTS, SMALL, Command, adpt, grown
from measuring import Row
from processes import Cost
from setups import run_here


def rows() -> Iterator[Row]:
    """CPU seconds and peaks of memory."""
    with tempfile.TemporaryDirectory() as name:
        scoring = "`adpt.predict`, PaDiM, no heatmaps"
        sizes = 25_000, 50_000, 100_000
        yield from grown(Command(scoring, "images", sizes, Predict(Path(name))))


class Predict:
    """Scores of a folder of images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, size: int) -> Cost:
        """Score so many images."""
        root, file = self.folder / f"images_{size}", self.folder / "one.adpt.safetensors"
        run_here(PRODUCTS, root, 1, 8, size)
        product = root / "product_0000"
        if not file.exists():
            adpt("predict", f"fit={product / 'train/good'}", f"inspector={file}", *SMALL,
                 "method=padim", f"output_dir={self.folder / 'fit'}")  # fmt: skip
        return adpt("predict", f"inspector={file}", f"images={product / 'test/good'}",
                    "heatmaps=none", "exit_code=false",
                    f"output_dir={self.folder / f'scores_{size}'}")  # fmt: skip
