"""The inspectors that are served, by the names of their products."""

from collections.abc import Callable
from pathlib import Path

from adpt.errors import UserError
from adpt.inspection import Inspector
from adpt.running.names import printable

ENDING = ".adpt.safetensors"
"""Of the inspectors' files in a folder; what stands before it is the product."""


def load_products(where: Path, load: Callable[[Path], Inspector]) -> dict[str, Inspector]:
    """The inspectors of a file or a folder, by product.

    Args:
        where: An inspector's file, or a folder of `<product>.adpt.safetensors`.
        load: Reads one.

    Raises:
        UserError: The folder has none, or one of them cannot be read.
    """
    files = [where]
    if where.is_dir():
        files = sorted(path for path in where.glob(f"*{ENDING}") if not path.name.startswith("."))
        if not files:
            raise UserError(
                f"inspector={where}: there is no <product>{ENDING} in that folder. Make one with"
                f" `python -m adpt.predict fit=<good images> inspector={where}/bottle{ENDING}`."
            )
    return {printable(_product(path)): load(path) for path in files}


def _product(path: Path) -> str:
    return path.name.removesuffix(ENDING) if path.name.endswith(ENDING) else path.stem
