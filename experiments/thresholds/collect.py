"""Score each product's test pictures, its good ones left out, and defects drawn on these.

python experiments/thresholds/collect.py DATA OUT BACKBONE WEIGHTS [PRODUCT ...]

DATA holds mvtec/, labelled/ and products/. Writes OUT/<backbone>/<product>.npz, from which rules.py
compares thresholds in seconds; what is there already is not done again.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from left_out import Bank, padim_maps
from torch import Tensor

from adpt.backbones import Backbone, build_backbone
from adpt.data import Sample
from adpt.data.images import read_mask
from adpt.data.references import choose_references
from adpt.data.synthetic import SyntheticDefects
from adpt.data.texture_defects import TextureDefects
from adpt.data.transforms import Geometry
from adpt.evaluation import Features, FixedReferences, convert_features
from adpt.inspection.fitting import Fitter, ImageFiles
from adpt.inspection.inputs import find_images, read
from adpt.inspection.scorer import features_in_memory
from adpt.inspection.threshold import folds_of
from adpt.methods import FeatureNorm, Method, PaDiM, PatchCore
from adpt.running.progress import no_progress

SIZE, SHOTS, BATCH = 224, 8, 8
WIDTH = 256
"""Numbers that describe one of PatchCore's patches, instead of 1,024: a quarter of the time."""
SIZES = (10, 30, 60)
"""Good pictures to fit on; all of them where there are fewer."""
TESTED = 30
"""Good and defective pictures to test on, at most, each."""
DRAWN_ON = 10
"""Good pictures that defects are drawn on, two each: those that every size is fitted on."""
REFITTED = 10
"""Good pictures up to which PatchCore is fitted again without each part, as adpt did."""
MAP_SHARES = (0.0, 0.001, 0.005, 0.01, 0.02, 0.05)
PATCH_SHARES = (0.0, 0.0026, 0.0039, 0.0064, 0.0103, 0.0205, 0.05)
"""Shares of the highest values that are averaged; the largest value alone for 0."""
PADIM_LEVELS = {"padim": (0, 1, 2, 3), "padim_middle": (0, 1, 2), "padim_last": (1, 2, 3)}

Levels = list[Tensor]
Found = dict[str, np.ndarray]
Item = TypeVar("Item")


def main(data: Path, out: Path, name: str, weights: Path, products: Sequence[str]) -> None:
    """Collect the scores of every product with one backbone."""
    backbone = build_backbone(name, weights=weights, mean=[0.5] * 3, std=[0.5] * 3)
    for product in sorted(folder.parents[1] for folder in data.glob("*/*/train/good")):
        path = out / backbone.name / f"{product.name}.npz"
        if path.exists() or (products and product.name not in products):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        start = time.process_time()
        found = collect(product, backbone)
        np.savez_compressed(path, **found)
        print(name, product.name, f"{time.process_time() - start:.0f} CPU s", flush=True)


def collect(product: Path, backbone: Backbone) -> Found:
    """All scores of one product: the arrays' names are `<size>/<method>/<what>`."""
    geometry = Geometry(SIZE)
    good = evenly(find_images(product / "train/good", "fit"), max(SIZES))
    kinds = {
        path.name: find_images(path, "images") for path in sorted((product / "test").iterdir())
    }
    normal = evenly(kinds.pop("good"), TESTED)
    tested = normal + evenly([path for kind in kinds.values() for path in kind], TESTED)
    labels = np.array([path.parent.name != "good" for path in tested])
    found: Found = {"labels": labels}
    own = levels_of(backbone, geometry, good)
    test = levels_of(backbone, geometry, tested)
    masks = torch.stack([mask_of(path, geometry) for path in tested])
    order = np.random.default_rng(0).permutation(len(good))
    marred = sorted(order[:DRAWN_ON].tolist())
    drawn = drawn_defects(backbone, geometry, [good[row] for row in marred])
    for size in sorted({min(size, len(good)) for size in SIZES}):
        rows = sorted(order[:size].tolist())
        for key, values in scores(backbone, good, own, marred, drawn, test, masks, rows).items():
            found[f"{size}/{key}"] = values
    return found


def scores(
    backbone: Backbone, paths: Sequence[Path], own: Levels, marred: Sequence[int],
    worse: Levels, test: Levels,
    masks: Tensor, rows: Sequence[int],
) -> Found:  # fmt: skip
    """Scores of all methods that were fitted on some of the good pictures."""
    found: Found = {}
    good = [level[rows] for level in own]
    owners = [rows.index(row) for row in marred for _ in (0, 1)]
    names = [str(paths[row]) for row in rows]
    parts = folds_of(len(rows), None)

    # PatchCore, from one bank and by refits.
    begin = time.process_time()
    method = PatchCore(SIZE, embedding_dim=WIDTH)
    fit(method, good)
    seconds = [time.process_time() - begin]
    begin = time.process_time()
    embedded = method.embed(good)
    bank = Bank(method.get_buffer("bank"), embedded)
    plain, filled = bank.left_out(embedded, list(range(len(rows))))
    seconds.append(time.process_time() - begin)
    found["patchcore/plain"] = tops(plain, PATCH_SHARES)
    found["patchcore/one_bank"] = tops(filled, PATCH_SHARES)
    found["patchcore/drawn"] = tops(bank.left_out(method.embed(worse), owners)[1], PATCH_SHARES)
    found["patchcore/test"] = tops(bank.all(method.embed(test)), PATCH_SHARES)
    begin = time.process_time()
    if len(rows) <= REFITTED:
        made = partial(PatchCore, SIZE, embedding_dim=WIDTH)
        found["patchcore/refits"] = refits(backbone, made, good, names, parts)
        seconds.append(time.process_time() - begin)
    found["patchcore/seconds"] = np.array(seconds)

    # PaDiM, in closed form and by refits.
    for name, levels in PADIM_LEVELS.items():
        if len(rows) < len(paths) and name != "padim":
            continue
        padim = PaDiM(SIZE)
        chosen = [good[level] for level in levels]
        begin = time.process_time()
        fit(padim, chosen)
        seconds = [time.process_time() - begin]
        begin = time.process_time()
        found[f"{name}/one_bank"] = tops(padim_maps(chosen, padim.epsilon, SIZE), MAP_SHARES)
        seconds.append(time.process_time() - begin)
        maps = torch.cat([padim.score(batch).maps for batch in batches([test[i] for i in levels])])
        found[f"{name}/test"] = tops(maps, MAP_SHARES)
        if len(rows) == len(paths):
            found[f"{name}/pixel_ap"] = np.array(pixel_ap(maps, masks))
        begin = time.process_time()
        if name == "padim":
            made = partial(PaDiM, SIZE)
            found[f"{name}/refits"] = refits(backbone, made, chosen, names, parts)
            seconds.append(time.process_time() - begin)
            found[f"{name}/drawn"] = drawn_on_folds(
                chosen, [worse[i] for i in levels], owners, parts
            )
        found[f"{name}/seconds"] = np.array(seconds)

    # FeatureNorm on residual features: nothing is fitted, a reference is not its own.
    good, worse, test = good[1:], worse[1:], test[1:]  # the finest level takes longest by far
    features = features_in_memory(good, names)
    samples = [Sample(Path(name), 0, "", "train") for name in names]
    chosen = [str(sample.image) for sample in choose_references(samples, SHOTS, 0)]
    references = FixedReferences(features, chosen, backbone.mean.device)
    norm = FeatureNorm(SIZE)
    maps = norm_maps(norm, features, references)
    found["feature_norm/one_bank"] = tops(torch.cat(maps), MAP_SHARES)
    found["feature_norm/refits"] = found["feature_norm/one_bank"][:, 0]
    defective = features_in_memory(worse, [names[owner] for owner in owners])
    maps = norm_maps(norm, defective, references)
    found["feature_norm/drawn"] = tops(torch.cat(maps), MAP_SHARES)
    maps = [norm.score(references.convert_others(batch, None)).maps for batch in batches(test)]
    found["feature_norm/test"] = tops(torch.cat(maps), MAP_SHARES)
    return found


def norm_maps(norm: FeatureNorm, own: Features, references: FixedReferences) -> list[Tensor]:
    """FeatureNorm's maps of pictures, on residual features."""
    seen = convert_features(own, references, None, BATCH)
    return [norm.score(levels).maps for levels in seen.batches(BATCH, references.device)]


def refits(
    backbone: Backbone, make: Callable[[], Method], good: Levels, names: Sequence[str],
    parts: Sequence[Sequence[int]],
) -> np.ndarray:  # fmt: skip
    """Image scores of good pictures by methods that were fitted without their part."""
    fitter = Fitter(backbone, None, "own", make, SHOTS, 0, BATCH)
    left = fitter.held_out(features_in_memory(good, names), parts, no_progress)
    return left.image.numpy()


def drawn_on_folds(
    good: Levels, worse: Levels, owners: Sequence[int], parts: Sequence[Sequence[int]]
) -> np.ndarray:
    """PaDiM's scores of drawn defects, fitted without the part that holds the picture itself."""
    found = np.zeros((len(owners), len(MAP_SHARES)), np.float32)
    for part in parts:
        inside = [place for place, owner in enumerate(owners) if owner in part]
        if inside:
            method = PaDiM(SIZE)
            rest = [row for row in range(len(good[0])) if row not in part]
            fit(method, [level[rest] for level in good])
            found[inside] = tops(method.score([level[inside] for level in worse]).maps, MAP_SHARES)
    return found


def drawn_defects(backbone: Backbone, geometry: Geometry, paths: Sequence[Path]) -> Levels:
    """Levels of every good picture with a spot, and with a foreign texture, one after the other."""
    spots, textures = SyntheticDefects(1.0), TextureDefects(foreground="none")
    parts = []
    for seed, path in enumerate(paths):
        pixels = read(path, geometry).pixels
        pair = torch.stack([spots(pixels, seed)[0], textures(pixels, seed)[0]])
        with torch.no_grad():
            parts.append([level.float() for level in backbone(pair)])
    return [torch.cat(level) for level in zip(*parts, strict=True)]


def levels_of(backbone: Backbone, geometry: Geometry, paths: Sequence[Path]) -> Levels:
    """Features of pictures, all of which can be read."""
    features = ImageFiles(geometry, BATCH).encoded(backbone, paths, no_progress)
    if len(features) < len(paths):
        raise ValueError(f"{len(paths) - len(features)} pictures cannot be read.")
    return list(next(iter(features.batches(len(paths), backbone.mean.device))))


def mask_of(path: Path, geometry: Geometry) -> Tensor:
    """(H, W) bool: where the defect is."""
    folder = path.parents[2] / "ground_truth" / path.parent.name
    files = sorted(folder.glob(f"{path.stem}*.png")) if folder.is_dir() else []
    return geometry.mask(read_mask(files[0], "defect")) if files else torch.zeros(SIZE, SIZE) > 0


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """At most so many of them, evenly spaced."""
    places = np.unique(np.linspace(0, len(items) - 1, count).round().astype(int))
    return [items[place] for place in places]


def fit(method: Method, levels: Levels) -> None:
    """Fit on all pictures."""
    with torch.no_grad():
        method.fit(batches(levels))


def batches(levels: Levels) -> Iterator[Levels]:
    """A few pictures at a time."""
    for start in range(0, len(levels[0]), BATCH):
        yield [level[start : start + BATCH] for level in levels]


def tops(maps: Tensor, shares: Sequence[float]) -> np.ndarray:
    """(pictures, shares): means of each picture's highest values."""
    flat = maps.flatten(1)
    counts = [max(1, round(share * flat.shape[1])) for share in shares]
    highest = flat.topk(max(counts), dim=1).values
    return torch.stack([highest[:, :count].mean(1) for count in counts], 1).numpy()


def pixel_ap(maps: Tensor, masks: Tensor) -> float:
    """Average precision of every fourth pixel of both axes; ties count as they come."""
    values, truth = maps[:, ::4, ::4].flatten(), masks[:, ::4, ::4].flatten()
    hits = truth[values.argsort(descending=True)].double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / hits.sum())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), sys.argv[5:])
