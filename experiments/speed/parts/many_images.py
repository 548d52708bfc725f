"""How prediction grows with images, and fitting with good images and a bank of bounded size."""

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
        sizes = 1000, 2000, 4000
        yield from grown(
            Command("`adpt.predict`, PaDiM, no heatmaps", "images", sizes, Predict(folder))
        )
        fitting = "`adpt.predict fit=`, PatchCore, a bank of at most 512 patches"
        for sizes in (500, 1000, 2000), (5000, 10_000, 20_000):  # 1 GB of patches is 4,096 images.
            yield from grown(Command(fitting, "images", sizes, Bank(folder), None))


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
