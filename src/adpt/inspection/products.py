"""Inspectors of several products: a folder of files, and which of them is an image's."""

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Self

from adpt.data.files import name_key
from adpt.errors import DataError, UserError
from adpt.inspection.inspector import Inspector
from adpt.running.names import printable

ENDING = ".adpt.safetensors"
_NAMED = 3


class Products:
    """Inspectors by product, each loaded when it is first asked for.

    Args:
        names: The products, from which images choose by their folders.
        load: Loads the inspector of one.

    Attributes:
        inspectors: Those that were loaded; of a single one the product is "".
    """

    def __init__(self, names: Collection[str], load: Callable[[str], Inspector]) -> None:
        self._names, self._load = set(names), load
        self.inspectors: dict[str, Inspector] = {}

    @classmethod
    def of_one(cls, inspector: Inspector, product: str = "") -> Self:
        """The inspector of all images, wherever they lie."""
        found = cls((), lambda name: inspector)
        found.inspector(product)
        return found

    def inspector(self, product: str) -> Inspector:
        """The inspector of a product."""
        if product not in self.inspectors:
            self.inspectors[product] = self._load(product)
        return self.inspectors[product]

    def load_all(self) -> None:
        """Load them now, where it is not known which will be asked for."""
        for product in sorted(self._names):
            self.inspector(product)

    def product_of(self, image: str | os.PathLike[str]) -> str:
        """The product that one of the folders of an image is called by.

        Raises:
            DataError: None is, or two are called by different ones.
        """
        if not self._names:
            return next(iter(self.inspectors))
        folders = {name_key(part) for part in Path(image).absolute().parent.parts}
        found = sorted(folders & self._names)
        if len(found) == 1:
            return found[0]
        several = " and ".join(found)
        known = ", ".join(sorted(self._names))
        raise DataError(
            f"its folders name two products, {several}: say which by product="
            if found
            else f"none of its folders is called by a product ({known}): say which by product="
        )

    def grouped(self, images: Iterable[Path]) -> dict[str, list[Path]]:
        """Images by product, in their order.

        Raises:
            DataError: The products of some cannot be told; they are named.
        """
        groups: dict[str, list[Path]] = {}
        unknown: list[str] = []
        for image in images:
            try:
                groups.setdefault(self.product_of(image), []).append(image)
            except DataError as error:
                unknown.append(f"{printable(image)}: {error}")
        if unknown:
            more = f"\nand {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
            raise DataError(
                "The product of these images cannot be told, of which one folder must be called"
                " like an inspector's file, or product=<name> given for all:\n"
                + "\n".join(unknown[:_NAMED])
                + more
            )
        return groups


def inspector_files(folder: Path) -> dict[str, Path]:
    """The inspectors' files in a folder, `<product>.adpt.safetensors`, by product.

    Raises:
        UserError: There are none, or two whose names look alike.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.glob(f"*{ENDING}")):
        if path.name.startswith(".") or not path.is_file():
            continue
        other = found.setdefault(name_key(path.name.removesuffix(ENDING)), path)
        if other != path:
            raise UserError(f"{other} and {path} are called alike: rename one of them.")
    if not found:
        raise UserError(
            f"inspector={folder}: there is no inspector in that folder, a file called"
            f" <product>{ENDING}. Give a file, or a folder of such."
        )
    return found


def file_of(folder: Path, product: str) -> Path:
    """The inspector's file of a product.

    Raises:
        UserError: There is none.
    """
    found = inspector_files(folder)
    if (key := name_key(product)) not in found:
        raise UserError(
            f"product={product}: {folder} has no inspector of it; it has"
            f" {', '.join(map(printable, sorted(found)))}."
        )
    return found[key]


def inspectors_of(where: Path, load: Callable[[Path], Inspector]) -> dict[str, Inspector]:
    """The inspectors of a file or of all files in a folder, by product.

    Raises:
        UserError: The folder has none, or one of them cannot be read.
    """
    alone = {name_key(where.name.removesuffix(ENDING)): where}
    files = inspector_files(where) if where.is_dir() else alone
    return {product: load(path) for product, path in files.items()}
