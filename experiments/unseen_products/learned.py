"""Projectors that learn by ADPretrain's two contrastive losses, on other products than they meet.

    SHARED=<folder of data/ and weights/> python experiments/unseen_products/learned.py CACHE [PART]

PART is `variants` (made of the products of the seven reported groups, measured on the five groups
for choosing) or `reported` (each group left out in turn). Rows go to learned.csv beside this file;
those that are there are not computed again. CACHE is that of run.py.
"""

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import NamedTuple

import encode
import numpy as np
import torch
from measure import Recipe
from products import CHOOSING, GROUP_OF, PRODUCTS
from recipes import own, projector_of, residual, sources_of, through
from run import (
    CHEAP,
    LEVELS_ALONE,
    NETWORKS,
    ON_RESIDUALS,
    SIZES,
    Table,
    cell_of,
    quiet,
    scored,
)
from seen import PLAIN, Pair, Views, both, sources_seen
from stored import Pictures, Product, load_product
from torch import Tensor

from adpt.losses import AngleContrastiveLoss, NormContrastiveLoss
from adpt.pretraining.patches import patch_labels, rows_of
from adpt.projector import FeatureProjector

IMAGES = 8


class Training(NamedTuple):
    """What a projector is trained with; the defaults are as published but for the four last."""

    block: str = "attention"
    at_identity: bool = False
    scaled: bool = False
    temperature: float = 0.15
    radius: float = 0.4
    margin: float = 0.75
    angle: bool = True
    norm: bool = True
    weight_decay: float = 5e-4
    average: bool = False
    products: int = 4
    """Of a step's 8 images, half of them defective."""
    views: Pair = both("full")
    drawn: Pair | None = None
    """Views of drawn products beside the real ones."""
    hardest: float = 1.0
    """Share of the normal patches that the angle loss sees, the longest ones."""
    stop_early: bool = False
    """Take the step at which three sources that are held out are scored best."""
    shorter: bool = False
    """Coarse levels count less, as in the closed form: by 1/2 and 1/4."""
    references: int = 256
    learning_rate: float = 1e-3
    steps: int = 200


HELD = ("bottle", "capsule", "bare_pcb")
LITERAL = Training()
VARIANTS = {
    "literal": LITERAL,
    "learning rate 1e-4": LITERAL._replace(learning_rate=1e-4),
    "scaled": LITERAL._replace(scaled=True),
    "scaled, from the identity": LITERAL._replace(scaled=True, at_identity=True),
}
FROM_IDENTITY = VARIANTS["scaled, from the identity"]
VARIANTS |= {
    f"scaled, from the identity, {name}": FROM_IDENTITY._replace(**changed)
    for name, changed in {
        "learning rate 1e-4": {"learning_rate": 1e-4},
        "mlp": {"block": "mlp"},
        "linear": {"block": "linear"},
        "linear, learning rate 1e-4": {"block": "linear", "learning_rate": 1e-4},
        "angle alone": {"norm": False},
        "norm alone": {"angle": False},
        "temperature 0.04": {"temperature": 0.04},
        "temperature 0.6": {"temperature": 0.6},
        "radius 1, margin 2": {"radius": 1.0, "margin": 2.0},
        "a product a step": {"products": 1},
        "averaged weights": {"average": True},
        "64 references": {"references": 64},
        "1024 references": {"references": 1024},
        "weight decay 0.05": {"weight_decay": 0.05},
        "real and drawn": {"drawn": PLAIN},
        "both views alike": {"views": (("full", 0), ("full", 0))},
        "50 steps": {"steps": 50},
        "real and drawn, shorter": {"drawn": PLAIN, "shorter": True},
        "real and drawn, shorter, norm alone": {"drawn": PLAIN, "shorter": True, "angle": False},
        "real and drawn, shorter, linear": {"drawn": PLAIN, "shorter": True, "block": "linear"},
        "real and drawn, shorter, 500 steps": {"drawn": PLAIN, "shorter": True, "steps": 500},
        "hard patches": {"hardest": 0.1},
        "stopped early": {"stop_early": True},
        "both views plain": {"views": PLAIN},
        "weak": {"views": both("weak")},
        "plain and weak": {"views": (("plain", 0), ("weak", 1))},
        "plain and full": {"views": (("plain", 0), ("full", 1))},
        "references too": {"views": both("together")},
        "real and drawn, weak, shorter": {
            "views": both("weak"),
            "drawn": both("weak"),
            "shorter": True,
        },
        "real and drawn, full": {"drawn": both("full")},
        "real and drawn, references too, shorter": {
            "views": both("together"),
            "drawn": both("together"),
            "shorter": True,
        },
    }.items()
}


CHOSEN = "scaled, from the identity, real and drawn, shorter"
"""Of the variants that take 200 steps the best on the groups for choosing."""
BESIDE = (
    "own", "residual", "closed form", "scaled, from the identity, real and drawn, weak, shorter"
)  # fmt: skip
"""What PatchCore sees a share of beside own features; of own ones, those of levels scaled alike."""
SHARE = 0.3


def steps(sources: Sequence[Views], training: Training, seed: int) -> Iterator[list[tuple]]:
    """Of each step some products, and of each as many normal images as defective ones."""
    draws = np.random.default_rng(seed)
    kinds = [[np.flatnonzero(one.labels.numpy() == kind) for kind in (0, 1)] for one in sources]
    each = IMAGES // training.products // 2
    for _ in range(training.steps):
        chosen = draws.choice(len(sources), training.products, replace=False)
        yield [(int(one), np.concatenate([draws.choice(kind, each) for kind in kinds[one]]))
               for one in chosen]  # fmt: skip


def train(
    sources: Sequence[Views],
    training: Training,
    seed: int,
    told_of: str = "",
    held: Sequence[Product] = (),
) -> FeatureProjector:
    """A projector from some source products, by both losses summed over the levels.

    With products that are held out, the one of all 25 steps that scores them best.
    """
    torch.manual_seed(seed)
    projector = FeatureProjector(
        [level.shape[1] for level in sources[0].pair[0]],
        num_heads=4,
        num_references=training.references,
        start_at_identity=training.at_identity,
        scale_by_references=training.scaled,
        block=training.block,
    )
    projector.train()
    scales = [one.scale if training.scaled else torch.ones(len(one.scale)) for one in sources]
    centres = [
        torch.stack(
            [torch.stack([view[i][one.labels == 0].float() for view in one.pair])
             .mean((0, 1, 3, 4)) / scale[i] for one, scale in zip(sources, scales, strict=True)]
        ).mean(0)
        for i in range(len(projector.channels))
    ]  # fmt: skip
    angle_loss = AngleContrastiveLoss(training.temperature)
    norm_loss = NormContrastiveLoss(training.radius, training.margin)
    optimizer = torch.optim.Adam(
        projector.parameters(), training.learning_rate, weight_decay=training.weight_decay
    )
    falls = [int(training.steps * share) for share in (0.7, 0.9)]
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, falls)
    mean = torch.optim.swa_utils.AveragedModel(
        projector, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98)
    )
    losses = []
    best = feature_norm(projector, held), deepcopy(projector.state_dict())
    if held:
        print(told_of, f"before: held out {best[0]:.2f}")
    for batch in steps(sources, training, seed):
        levels = [
            torch.stack([torch.cat([sources[k].pair[view][i][rows].float() for k, rows in batch])
                         for view in (0, 1)])
            for i in range(len(centres))
        ]  # fmt: skip
        masks = torch.cat([sources[k].masks[rows] for k, rows in batch])
        scale = torch.cat([scales[k].expand(len(rows), -1) for k, rows in batch])
        projected = projector([level.flatten(0, 1) for level in levels], scale.repeat(2, 1))
        loss = torch.zeros(())
        for level, centre in zip(projected, centres, strict=True):
            first, second = (rows_of(view) for view in level.chunk(2))
            covered, touched = patch_labels(masks, level.shape[-2:])
            if training.angle:
                told = covered | hard(first, covered, training.hardest)
                loss = loss + angle_loss(first[told], second[told], covered[told], centre)
            if training.norm:
                loss = loss + norm_loss(first, touched) + norm_loss(second, touched)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        mean.update_parameters(projector)
        losses.append(loss.item())
        if held and len(losses) % 25 == 0:
            found = feature_norm(projector, held)
            print(
                told_of, f"after {len(losses)} steps: loss {losses[-1]:.2f}, held out {found:.2f}"
            )
            if found > best[0]:
                best = found, deepcopy(projector.state_dict())
    if held:
        projector.load_state_dict(best[1])
    tenth = max(1, len(losses) // 10)
    first, last = (np.mean(part) for part in (losses[:tenth], losses[-tenth:]))
    print(told_of, f"loss {first:.2f} -> {last:.2f}", flush=True)
    return (mean.module if training.average else projector).eval()


def seen_through(projector: FeatureProjector, shorter: bool = False) -> Recipe:
    """Residual features through a projector, in units of the references only if it wants them."""
    shares = ON_RESIDUALS.shares if shorter else [1.0] * len(projector.channels)

    @torch.no_grad()
    def recipe(product: Product, pictures: Pictures) -> list[Tensor]:
        scale = product.scale if projector.scale_by_references else None
        parts = [projector([level[i : i + 8] for level in pictures.residual], scale)
                 for i in range(0, len(pictures.names), 8)]  # fmt: skip
        levels = zip(*parts, strict=True)
        return [share * torch.cat(level) for share, level in zip(shares, levels, strict=True)]

    return recipe


def beside_own(recipe: Recipe) -> Recipe:
    """Own features and a share of others, each level of both as long as the other on average."""

    def both(product: Product, pictures: Pictures) -> list[Tensor]:
        parts = []
        for one, share in ((own, 1.0), (recipe, SHARE)):
            lengths = [level.norm(dim=1).mean() for level in one(product, product.train)]
            levels = zip(one(product, pictures), lengths, strict=True)
            parts.append([share * level / length for level, length in levels])
        return [torch.cat(level, 1) for level in zip(*parts, strict=True)]

    return both


def hard(features: Tensor, anomalous: Tensor, share: float) -> Tensor:
    """Which rows are normal patches among the longest, by their share of all normal ones."""
    lengths = features.detach().norm(dim=-1).masked_fill(anomalous, -1)
    count = max(1, round(share * int((~anomalous).sum())))
    return lengths >= lengths.topk(count).values[-1]


def feature_norm(projector: FeatureProjector, held: Sequence[Product]) -> float:
    """Mean of pixel AP and AUPRO by FeatureNorm on some products."""
    recipe, total = seen_through(projector.eval()), 0.0
    for product in held:
        found = scored(CHEAP["feature_norm"](0), recipe, product)
        total += (found["pixel_ap"] + found["pixel_aupro"]) / 2 / len(held)
    projector.train()
    return total


def measure(
    table: Table, cells: Sequence[dict], recipe: Recipe, cache: Path, started: float
) -> None:
    """Fit each cell's method on its product, and write what it scores."""
    trained = time.process_time() - started
    for cell in cells:
        product = load_product(cache, cell["backbone"], cell["product"], **SIZES, seed=cell["seed"])
        method = CHEAP[cell["method"]](cell["seed"])
        table.add(cell, partial(scored, method, recipe, product), trained)


def variants(cache: Path, table: Table) -> None:
    """Each variant made of the reported groups' products, on those of the groups for choosing."""
    network = NETWORKS[0]
    sources = tuple(name for name in PRODUCTS if GROUP_OF[name] not in CHOOSING)
    targets = [name for name in PRODUCTS if GROUP_OF[name] in CHOOSING]
    plain: dict[str, Recipe] = {
        "own": own,
        "residual": residual,
        "levels alone": through(projector_of(cache, network, sources, LEVELS_ALONE)),
        "closed form": through(projector_of(cache, network, sources, ON_RESIDUALS)),
    }
    for features in (*plain, *VARIANTS):
        cells = [cell_of("variants", network, name, method, features, "reported", 0)
                 for name in targets for method in ("padim", "feature_norm")]  # fmt: skip
        seen = f"own beside {SHARE} x {features}"
        beside = [cell_of("variants", network, name, "patchcore", seen, "reported", 0)
                  for name in targets if features in BESIDE]  # fmt: skip
        if not table.lacks([*cells, *beside]):
            continue
        started = time.process_time()
        if features in plain:
            recipe = plain[features]
        else:
            training = VARIANTS[features]
            named, held = sources, []
            if training.stop_early:
                named = [name for name in named if name not in HELD]
                held = [load_product(cache, network, name, **SIZES) for name in HELD]
            views = sources_seen(cache, network, named, training.views, training.drawn)
            recipe = seen_through(train(views, training, 0, features, held), training.shorter)
        measure(table, cells, recipe, cache, started)
        measure(table, beside, beside_own(recipe), cache, started)


def reported(cache: Path, table: Table, features: Sequence[str]) -> None:
    """Some variants on every product, made of all groups but its own."""
    for network, name in itertools.product(NETWORKS, features):
        for group in dict.fromkeys(GROUP_OF.values()):
            targets = [product for product in PRODUCTS if GROUP_OF[product] == group]
            cells = [cell_of("reported", network, target, method, name, "all others", 0)
                     for target in targets for method in CHEAP]  # fmt: skip
            if table.lacks(cells):
                started = time.process_time()
                training, named = VARIANTS[name], sources_of(targets[0])
                views = sources_seen(cache, network, named, training.views, training.drawn)
                made = train(views, training, 0, f"{network} {group} {name}")
                recipe = seen_through(made, training.shorter)
                measure(table, cells, recipe, cache, started)


def main() -> None:
    """Run the parts that the command line names."""
    encode.main()
    quiet()
    cache, parts = Path(sys.argv[1]), sys.argv[2:] or ["variants", "reported"]
    table = Table(Path(__file__).with_name("learned.csv"))
    if "variants" in parts:
        variants(cache, table)
    if "reported" in parts:
        reported(cache, table, [CHOSEN])


if __name__ == "__main__":
    main()
