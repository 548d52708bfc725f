"""Score every product by methods on own, residual and pretrained features.

    SHARED=<folder of data/ and weights/> python experiments/unseen_products/run.py CACHE [PART ...]

Encodes first what is not in CACHE yet. PART is one of `grid`, `settled`, `growth`, `shipped`,
`trained` and `defects`; without one, all run. Rows go to results.csv beside this file; those
that are there are not computed again.
"""

import csv
import itertools
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import encode
import numpy as np
import torch
from encode import NETWORKS
from measure import METRICS, Recipe, fit, measured
from products import GROUP_OF
from recipes import Choice, own, projector_of, residual, sources_of, through
from rendered_defects import defects_of
from stored import Product, load_product

from adpt.methods import CFlow, FeatureNorm, Glass, PaDiM, PatchCore, UniAD
from adpt.methods.base import Method

RESULTS = Path(__file__).with_name("results.csv")
COLUMNS = ("part", "backbone", "group", "product", "method", "features", "sources", "seed",
           *METRICS, "seconds")  # fmt: skip
SIZES = {"train": 24, "good": 16, "defective": 32}
"""Images of a tested product."""
ON_RESIDUALS = Choice("residual", 0.25, (1, 0.5, 0.25))
ON_OWN = Choice("own", 0.5, (1, 1, 1))
SETTLED = dict.fromkeys(("padim", "feature_norm", "glass", "uniad"), ON_RESIDUALS)
SETTLED |= dict.fromkeys(("patchcore", "cflow"), ON_OWN)
LEVELS_ALONE = Choice("residual", 0, (1, 0.5, 0.25))
SHARES = ((1, 1, 1), (1, 1, 0.5), (1, 1, 0.25), (1, 0.7, 0.5), (1, 0.5, 0.25))
POWERS = (0, 0.25, 0.5, 1)
CHOICES = {
    "patchcore": [Choice("own", power, (1, 1, 1)) for power in (0.5, 1)],
    "padim": [Choice(*one) for one in itertools.product(("own", "residual"), POWERS, SHARES)],
    "feature_norm": [Choice("residual", *one) for one in itertools.product(POWERS, SHARES)],
}
"""All that was tried in the nested protocol."""
Methods = Mapping[str, Callable[[int], Method]]
"""Name to what makes a method with a seed."""
CHEAP: Methods = {
    "patchcore": lambda seed: PatchCore(seed=seed),
    "padim": lambda seed: PaDiM(),
    "feature_norm": lambda seed: FeatureNorm(),
}
TRAINED: Methods = {
    "cflow": lambda seed: CFlow(epochs=6, patches_per_step=256, learning_rate=0.003, seed=seed),
    "glass": lambda seed: Glass(
        epochs=40, embedding_dim=512, hidden_dim=256, adaptor=False, ascent_steps=5, seed=seed
    ),
}  # fmt: skip
"""Short trainings; GLASS without rendered defects, on synthetic ones in feature space alone."""
NOISE = {"own": 0.015, "residual": 0.015, "pretrained": 0.005}
"""Standard deviations of GLASS's noise as ADPretrain sets them, for `defects`."""
SHIPPABLE = ("leather_plain", "hazelnut_toy", "magnetic_tile")


class Table:
    """Rows of a file, appended one by one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_text(",".join(COLUMNS) + "\n")
        with path.open(newline="") as lines:
            self.known = {self.key(row) for row in csv.DictReader(lines)}

    @staticmethod
    def key(row: dict) -> tuple:
        """What a row is the result of."""
        return tuple(str(row[name]) for name in COLUMNS[:8])

    def lacks(self, cells: Sequence[dict]) -> bool:
        """True if one of these is not there."""
        return any(self.key(cell) not in self.known for cell in cells)

    def add(
        self, cell: dict, compute: Callable[[], dict], trained: float | None = None
    ) -> None:  # fmt: skip
        """Compute and write a row unless it is there; with the seconds that training took."""
        if not self.lacks([cell]):
            return
        started = time.process_time()
        found = compute()
        row = cell | {name: f"{found[name]:.2f}" for name in METRICS}
        row["seconds"] = f"{time.process_time() - started if trained is None else trained:.1f}"
        with self.path.open("a", newline="") as lines:
            csv.DictWriter(lines, COLUMNS).writerow(row)
        print(*row.values(), flush=True)


def projector(cache: Path, network: str, method: str, sources: Sequence[str]) -> Recipe:
    """A method's features through the settled projector of some sources."""
    return through(projector_of(cache, network, sources, SETTLED[method]))


def scored(method: Method, recipe: Recipe, product: Product) -> dict:
    """Metrics of a method on a product's features."""
    fit(method, recipe(product, product.train))
    return tested(method, recipe, product)


def tested(method: Method, recipe: Recipe, product: Product) -> dict:
    """The same of a method that is fitted."""
    return measured(method, recipe(product, product.test), product.test)


def grid(cache: Path, network: str, table: Table) -> None:
    """Every choice on every product, whose projector has seen all groups but the product's own."""
    for name in GROUP_OF:
        product = load_product(cache, network, name, **SIZES)
        for method, make in CHEAP.items():
            recipes: dict[str, Recipe] = {"own": own, "residual": residual}
            for choice in CHOICES[method]:
                made = projector_of(cache, network, sources_of(name), choice)
                recipes[" ".join(map(str, choice))] = through(made)
            for features, recipe in recipes.items():
                cell = cell_of("grid", network, name, method, features, "all others", 0)
                table.add(cell, partial(scored, make(0), recipe, product))


def settled(
    cache: Path, network: str, part: str, methods: Methods, seed: int, table: Table
) -> None:  # fmt: skip
    """The settled choice beside own and residual features."""
    for name in GROUP_OF:
        product = load_product(cache, network, name, **SIZES, seed=seed)
        for method, make in methods.items():
            pretrained = projector(cache, network, method, sources_of(name))
            recipes = {"own": own, "residual": residual, "pretrained": pretrained}
            if method == "cflow":
                made = projector_of(cache, network, sources_of(name), ON_RESIDUALS)
                recipes["pretrained residuals"] = through(made)
            elif SETTLED[method] == ON_RESIDUALS and part == "settled":
                made = projector_of(cache, network, sources_of(name), LEVELS_ALONE)
                recipes["levels alone"] = through(made)
            for features, recipe in recipes.items():
                cell = cell_of(part, network, name, method, features, "all others", seed)
                table.add(cell, partial(scored, make(seed), recipe, product))


def with_defects(cache: Path, network: str, seed: int, table: Table) -> None:
    """GLASS with a defect rendered on each normal image, a tenth of them anew in every epoch."""
    for name in GROUP_OF:
        product = load_product(cache, network, name, **SIZES, seed=seed)
        recipes = {"own": own, "residual": residual}
        recipes["pretrained"] = projector(cache, network, "glass", sources_of(name))
        for features, recipe in recipes.items():
            cell = cell_of("defects", network, name, "glass", features, "all others", seed)
            make = partial(scored_with_defects, network, features, recipe, product, seed)
            table.add(cell, make)


def scored_with_defects(
    network: str, features: str, recipe: Recipe, product: Product, seed: int
) -> dict:
    """Metrics of GLASS on a product's features, with rendered defects."""
    method = Glass(
        epochs=40, embedding_dim=512, hidden_dim=256, adaptor=False, ascent_steps=5,
        noise_std=NOISE[features], seed=seed,
    )  # fmt: skip
    pool = defects_of(product, network, recipe, method.batch_size, seed)
    fit(method, recipe(product, product.train), pool)
    return tested(method, recipe, product)


def uniad(cache: Path, network: str, seed: int, table: Table) -> None:
    """One model of all products, each with features through the projector of other groups."""
    products = [load_product(cache, network, name, **SIZES, seed=seed) for name in GROUP_OF]
    pretrained = {name: projector(cache, network, "uniad", sources_of(name)) for name in GROUP_OF}
    plain = {"own": dict.fromkeys(GROUP_OF, own), "residual": dict.fromkeys(GROUP_OF, residual)}
    for features, recipes in (plain | {"pretrained": pretrained}).items():
        cells = [
            cell_of("trained", network, product.name, "uniad", features, "all others", seed)
            for product in products
        ]
        unified(table, cells, products, recipes, seed)


def unified(
    table: Table,
    cells: Sequence[dict],
    products: Sequence[Product],
    recipes: Mapping[str, Recipe],
    seed: int,
) -> None:
    """Score one UniAD of some products, each with features by its own recipe, a cell each."""
    if not table.lacks(cells):
        return
    method = UniAD(
        epochs=35, batch_size=4, learning_rate=5e-4, hidden_dim=128, num_heads=4,
        num_layers=2, feedforward_dim=256, dropout=0.0, seed=seed,
    )  # fmt: skip
    started = time.process_time()
    levels = [recipes[product.name](product, product.train) for product in products]
    fit(method, [torch.cat(level) for level in zip(*levels, strict=True)])
    print(f"uniad in {time.process_time() - started:.0f} s", flush=True)
    for cell, product in zip(cells, products, strict=True):
        table.add(cell, partial(tested, method, recipes[product.name], product))


def growth(cache: Path, network: str, methods: Methods, table: Table) -> None:
    """Pretrained features of 1 to 12 source products, drawn by three seeds."""
    for number_of, name in enumerate(GROUP_OF):
        product = load_product(cache, network, name, **SIZES)
        for number, seed in itertools.product((1, 2, 4, 8, 12), range(3)):
            draws = np.random.default_rng((seed, number_of))
            names = draws.permutation(sources_of(name))[:number].tolist()
            for method, make in methods.items():
                cell = cell_of("growth", network, name, method, "pretrained", number, seed)
                recipe = projector(cache, network, method, tuple(names))
                table.add(cell, partial(scored, make(seed), recipe, product))


def shipped(cache: Path, network: str, methods: Methods, table: Table) -> None:
    """Projectors of what may be shipped, on products that are not among it."""
    views = drawn_views(cache, network)
    choices = {"drawn": views, "shippable": [*views, *SHIPPABLE * 10]}
    for name in set(GROUP_OF) - set(SHIPPABLE):
        product = load_product(cache, network, name, **SIZES)
        for (sources, names), (method, make) in itertools.product(choices.items(), methods.items()):
            cell = cell_of("shipped", network, name, method, "pretrained", sources, 0)
            recipe = projector(cache, network, method, tuple(names))
            table.add(cell, partial(scored, make(0), recipe, product))


def drawn_views(cache: Path, network: str) -> list[str]:
    """Names of the drawn products' views."""
    return sorted(file.name.split(".")[1] for file in cache.glob(f"{network}.drawn_*.plain.pt"))


def cell_of(
    part: str, network: str, name: str, method: str, features: str, sources: object, seed: int
) -> dict:
    """The first columns of a row."""
    values = (part, network, GROUP_OF[name], name, method, features, sources, seed)
    return dict(zip(COLUMNS, values, strict=False))


def quiet() -> None:
    """One thread, and nothing said but the rows."""
    torch.set_num_threads(int(os.environ.get("THREADS", "1")))
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def main() -> None:
    """Encode, and run the parts that the command line names."""
    encode.main()
    quiet()
    cache, parts = Path(sys.argv[1]), sys.argv[2:]
    table = Table(RESULTS)
    quick = {name: CHEAP[name] for name in ("padim", "feature_norm")}
    for part in parts or ("grid", "settled", "growth", "shipped", "trained", "defects"):
        if part == "grid":
            grid(cache, NETWORKS[0], table)
        elif part == "settled":
            for network, seed in itertools.product(NETWORKS, range(3)):
                settled(cache, network, part, CHEAP, seed, table)
        elif part == "trained":
            for seed, network in itertools.product(range(3), NETWORKS):
                uniad(cache, network, seed, table)
                settled(cache, network, part, {"cflow": TRAINED["cflow"]}, seed, table)
                if seed < (2 if network == NETWORKS[0] else 1):
                    settled(cache, network, part, {"glass": TRAINED["glass"]}, seed, table)
        elif part == "defects":
            with_defects(cache, NETWORKS[1], 0, table)
        else:
            {"growth": growth, "shipped": shipped}[part](cache, NETWORKS[0], quick, table)


if __name__ == "__main__":
    main()
