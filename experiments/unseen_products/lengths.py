"""How long pretrained features should be, for the methods that mind: PaDiM and those that train.

    SHARED=<folder of data/ and weights/> python experiments/unseen_products/lengths.py CACHE [METHOD ...]

Made of the products of the seven reported groups, measured on the five groups for choosing. Rows
go to lengths.csv beside this file; those that are there are not computed again. CACHE is run.py's.
"""  # noqa: E501

import itertools
import sys
from functools import partial
from pathlib import Path

import encode
from measure import Recipe
from products import CHOOSING, GROUP_OF, PRODUCTS
from recipes import LENGTH, Choice, own, projector_of, residual, through
from run import CHEAP, NETWORKS, SIZES, TRAINED, Table, cell_of, quiet, scored, unified
from stored import load_product

LENGTHS = (0.3, 3, 30)
"""Root mean square of normal patches on the finest level, of what is projected."""
SHAPES = {"shorter": (1, 0.5, 0.25), "alike": (1, 1, 1)}
"""Lengths of the levels, in that of the finest."""


def recipes(cache: Path) -> dict[str, Recipe]:
    """Features by what they are called."""
    sources = [name for name in PRODUCTS if GROUP_OF[name] not in CHOOSING]
    found: dict[str, Recipe] = {"own": own, "residual": residual}
    tried = [
        *itertools.product(["residual"], [0.25], ["shorter"], LENGTHS),
        *itertools.product(["residual"], [0.25, 0], ["alike"], LENGTHS[1:]),
        *itertools.product(["own"], [0, 0.5], ["alike"], LENGTHS[1:]),
    ]
    for given, power, shape, length in tried:
        shares = tuple(length / LENGTH * share for share in SHAPES[shape])
        made = projector_of(cache, NETWORKS[0], sources, Choice(given, power, shares))
        found[f"{given}, power {power}, {shape}, {length} long"] = through(made)
    return found


def main() -> None:
    """Run the methods that the command line names, or all."""
    encode.main()
    quiet()
    cache, asked = Path(sys.argv[1]), sys.argv[2:] or ["uniad", "cflow", "padim"]
    table = Table(Path(__file__).with_name("lengths.csv"))
    names = [name for name in PRODUCTS if GROUP_OF[name] in CHOOSING]
    products = [load_product(cache, NETWORKS[0], name, **SIZES) for name in names]
    for method, (features, recipe) in itertools.product(asked, recipes(cache).items()):
        cells = [cell_of("lengths", NETWORKS[0], name, method, features, "reported", 0)
                 for name in names]  # fmt: skip
        if method == "uniad":
            unified(table, cells, products, dict.fromkeys(names, recipe), 0)
            continue
        for cell, product in zip(cells, products, strict=True):
            made = (TRAINED | CHEAP)[method](0)
            table.add(cell, partial(scored, made, recipe, product))


if __name__ == "__main__":
    main()
