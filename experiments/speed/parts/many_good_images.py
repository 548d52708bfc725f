"""How fitting grows with good images at a bank of bounded size."""

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
        folder = Path(name)
        fitting = "`adpt.predict fit=`, PatchCore, a bank of at most 512 patches"
        for sizes in (500, 1000, 2000), (5000, 10_000, 20_000):  # 1 GB of patches is 4,096 images.
            yield from grown(Command(fitting, "images", sizes, Bank(folder), None))


class Bank:
    """A memory bank whose size is bounded, with its threshold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, size: int) -> Cost:
        """Fit on so many images."""
        root = self.folder / f"good_{size}"
        run_here(PRODUCTS, root, 1, size, 0)
        return adpt(
            "predict",
            f"fit={root / 'product_0000/train/good'}",
            f"inspector={self.folder / 'bank.adpt.safetensors'}",
            *SMALL,
            "method=patchcore",
            "method.patchcore.max_patches=512",
            f"output_dir={self.folder / f'bank_{size}'}",
        )
