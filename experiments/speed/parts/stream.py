"""Peak of memory of a stream of pictures, `adpt.predict images=-`."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from growing import FLAT, PRODUCTS, SMALL, adpt
from measuring import Row
from processes import ENVIRONMENT
from setups import run_here

SIZES = 100, 1000
CODE = """
import runpy, sys
sys.argv = ["adpt.predict", *sys.argv[1:]]
try:
    runpy.run_module("adpt.predict", run_name="__main__")
finally:
    status = open("/proc/self/status").read().split("VmRSS:")[1]
    print("RSS", int(status.split()[0]) / 1024, file=sys.stderr)
"""


def rows() -> Iterator[Row]:
    """What is resident at the end of a short stream and of a long one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_here(PRODUCTS, folder / "set", 1, 8, SIZES[0])
        product, file = folder / "set/product_0000", folder / "one.adpt.safetensors"
        adpt("predict", f"fit={product / 'train/good'}", f"inspector={file}", *SMALL,
             "method=padim", f"output_dir={folder / 'fit'}")  # fmt: skip
        pictures = sorted((product / "test/good").iterdir())
        resident = {}
        for size in SIZES:
            lines = "".join(f"{pictures[number % len(pictures)]}\n" for number in range(size))
            options = (f"inspector={file}", "images=-", "heatmaps=none", "exit_code=false")
            ended = subprocess.run(
                [sys.executable, "-c", CODE, *options, f"output_dir={folder / f'out_{size}'}"],
                input=lines,
                capture_output=True,
                text=True,
                env=os.environ | ENVIRONMENT,
                check=True,
            )
            resident[size] = float(ended.stderr.split("RSS ")[-1].split()[0])
        small, large = SIZES
        told = ", ".join(f"{size:,}: {held:.0f} MB" for size, held in resident.items())
        yield Row(
            "stream",
            f"PaDiM, no heatmaps: resident after {large:,} pictures of 64 px, beside {small:,}",
            resident[large] - resident[small],
            unit="MB",
            goal=FLAT,
            kind="limit",
            note=told,
        )
