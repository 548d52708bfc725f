"""Each choice of `protocol=paper` against values recorded from the authors' code.

The values were recorded by running functions of github.com/xcyao00/ADPretrain (as of commit 8d1a32c
of its fork by shirazzyy) on the inputs that are made here: the matching of reference features, and
the FeatureNorm maps that follow; torchvision's `Resize` and `CenterCrop` as their data sets chain
them for images (bicubic) and masks, and as GLASS's data sets do for masks; the approximate greedy
coreset sampler with identity projection and the ten starts that our generator draws, and as it is
from 60 seeds; GLASS's `compute_pro` and `calculate_aupro`; and CFLOW's `train_val`, in which the
log-likelihoods of test images were put in place of those that a training gives, and the maps taken
from what it hands to its metrics.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from adpt.data.transforms import Geometry
from adpt.evaluation import (
    AlignedReferences,
    Features,
    FixedReferences,
    TrainingPlan,
    encode_class,
)  # fmt: skip
from adpt.evaluation.epochs import EpochChecks
from adpt.methods import CFlow, FeatureNorm, Glass, UniAD
from adpt.methods.coreset import greedy_coreset, project
from adpt.methods.feature_sets import InMemory
from adpt.metrics import aupro_dilated, aupro_paper
from drawn import draw_folder
from runs import folder_data
from small import SmallBackbone

# Height and width of the picture, `resize`, sizes after it, and three sums over the 224 × 224
# pixels of the crop: plain, and weighted by row and by column.
GEOMETRIES = [
    (301, 257, 224, (262, 224), 19162477, 2129335801, 2186553542),
    (301, 257, 256, (299, 256), 19262434, 2161587954, 2148066263),
    (448, 339, 224, (296, 224), 18915368, 2139208906, 2139743948),
    (448, 339, 256, (338, 256), 19266334, 2153489403, 2150949275),
    (640, 427, 224, (335, 224), 18929941, 2127893072, 2137257443),
    (640, 427, 256, (383, 256), 19419902, 2186539109, 2191888415),
    (225, 900, 224, (224, 896), 18724252, 2121347255, 2102023919),
    (225, 900, 256, (256, 1024), 19529294, 2198742301, 2208454977),
    (1000, 1333, 224, (224, 298), 19149843, 2156925891, 2154719140),
    (1000, 1333, 256, (256, 341), 19187876, 2157195065, 2160809382),
    (233, 300, 224, (224, 288), 18733925, 2116535097, 2100525387),
    (233, 300, 256, (256, 329), 19337814, 2164949240, 2170614414),
]
CORESET = [
    199, 197, 166, 188, 193, 192, 170, 173, 175, 195, 191, 187, 196, 190, 184, 180, 169, 186, 194,
    172, 177, 162, 179, 161, 185, 178, 198, 181, 168, 171,
]  # fmt: skip


def waves(height: int, width: int) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    channels = columns * 7 % 256, rows * 5 % 256, (rows * 3 + columns * 2) % 256
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


@pytest.mark.parametrize(("height", "width", "resize", "size", "plain", "by_row", "by_column"),
                         GEOMETRIES)  # fmt: skip
def test_pictures_are_cropped_to_the_pixel_as_theirs(
    height: int, width: int, resize: int, size: tuple[int, int], plain: int, by_row: int,
    by_column: int,
) -> None:  # fmt: skip
    geometry = Geometry(224, resize, as_torchvision=True)
    assert geometry._resized((height, width)) == size
    pixels = geometry.image(waves(height, width)).long()
    weights = torch.arange(1, 225)
    assert pixels.sum() == plain
    assert (pixels * weights[:, None]).sum() == by_row
    assert (pixels * weights).sum() == by_column


def test_without_it_some_sizes_fall_on_another_pixel() -> None:
    others = [Geometry(224, resize)._resized((h, w)) for h, w, resize, *_ in GEOMETRIES]
    assert sum(mine != case[3] for mine, case in zip(others, GEOMETRIES, strict=True)) == 5


MASK = np.zeros((300, 401), bool)
MASK[40:71, 100:173] = MASK[200:203, 300:310] = MASK[150, 200] = True


@pytest.mark.parametrize(("how", "pixels"), [("within", 1173), ("touched", 1429)])
def test_masks_are_those_of_glass(how: str, pixels: int) -> None:
    geometry = Geometry(224, 224, as_torchvision=True, mask_resize=how)
    assert geometry.mask(MASK).sum() == pixels


@pytest.mark.parametrize(
    ("resize", "plain", "by_row", "by_column"),
    [(224, 1264, 55448, 84211), (256, 1717, 56936, 101882)],
)
def test_masks_of_the_other_methods_are_cropped_to_the_pixel_as_theirs(
    resize: int, plain: int, by_row: int, by_column: int
) -> None:
    mask = Geometry(224, resize, as_torchvision=True).mask(MASK).long()
    weights = torch.arange(1, 225)
    sums = mask, mask * weights[:, None], mask * weights
    assert [int(one.sum()) for one in sums] == [plain, by_row, by_column]


def test_references_are_read_in_a_geometry_of_their_own(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "own", ("key",), train=4)

    def references(resize: int, of_references: int | None) -> list[torch.Tensor]:
        data = folder_data(root, image_size=32, resize=resize)
        data.setup()
        backbone, cpu = SmallBackbone(), torch.device("cpu")
        found = encode_class(
            data,
            "key",
            backbone,
            shots=2,
            seed=0,
            device=cpu,
            self_match=True,
            reference_resize=of_references,
        )
        return found.references.levels

    apart, alike, other = references(40, 32), references(32, None), references(40, None)
    for level, same, different in zip(apart, alike, other, strict=True):
        assert torch.allclose(level, same, atol=1e-4)
        assert not torch.allclose(level, different, atol=1e-2)


def test_the_coreset_picks_the_same_patches() -> None:
    points = torch.randn(200, 128, generator=torch.Generator().manual_seed(3))
    points = points * torch.linspace(0.2, 3, 200)[:, None]
    generator = torch.Generator().manual_seed(42)
    assert greedy_coreset(points, 30, generator, num_starts=10).tolist() == CORESET


def test_coresets_in_random_dimensions_cover_as_theirs() -> None:
    points = torch.randn(400, 256, generator=torch.Generator().manual_seed(3))
    points = points * torch.linspace(0.2, 3, 400)[:, None]
    farthest, mean = [], []
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        projected = project(points, 128, generator)
        kept = points[greedy_coreset(projected, 40, generator, num_starts=10)]
        distances = torch.cdist(points, kept).amin(1)
        farthest.append(float(distances.max()))
        mean.append(float(distances.mean()))
    # Theirs: 60.71 ± 0.82 and 41.87 ± 0.64.
    assert np.mean(farthest) == pytest.approx(60.71, abs=0.5)
    assert np.mean(mean) == pytest.approx(41.87, abs=0.4)


TRAIN, TEST = 12, 3
LEVELS = ((6, 8), (10, 8), (8, 4))


def drawn_features() -> tuple[Features, Features]:
    """Three levels of twelve training and of three test images."""
    generator = torch.Generator().manual_seed(7)
    made = []
    for images, kind in ((TRAIN, "train"), (TEST, "test")):
        levels = [torch.randn(images, c, s, s, generator=generator) for c, s in LEVELS]
        masks = torch.zeros(images, 9, 9, dtype=torch.bool)
        paths = [f"{kind}/{n}.png" for n in range(images)]
        labels = torch.zeros(images, dtype=torch.int64)
        made.append(Features(InMemory(levels), masks, labels, paths, []))
    return made[0], made[1]


def test_listed_references_give_the_same_feature_norms() -> None:
    train, test = drawn_features()
    rows = [
        [3, 7, 1, 0, 10, 11, 2, 9, 4, 5],
        [8, 6, 2, 0, 1, 9, 10, 11, 3, 4],
        [5, 4, 3, 2, 1, 0, 11, 10, 9, 8],
    ]
    listed = {f"test/{n}.png": [f"train/{r}.png" for r in row] for n, row in enumerate(rows)}
    cpu = torch.device("cpu")
    references = AlignedReferences(train, train.paths[:2], cpu, 10, listed, self_match=True)
    residual = references.convert(test.read(range(TEST)), test.paths, None)
    maps, image = FeatureNorm(224).score(residual)
    assert image.tolist() == pytest.approx(
        [0.8148823976516724, 0.7733288407325745, 0.9023272395133972], abs=1e-5
    )
    assert maps.mean((1, 2)).tolist() == pytest.approx(
        [0.6184189915657043, 0.6377052664756775, 0.6486668586730957], abs=1e-5
    )
    assert float(maps[1, 100, 50]) == pytest.approx(0.7116601467132568, abs=1e-5)


def test_training_images_that_are_references_match_themselves() -> None:
    train, _ = drawn_features()
    fixed = [train.paths[row] for row in (5, 0, 3, 8)]
    references = FixedReferences(train, fixed, torch.device("cpu"), self_match=True)
    residual = references.convert(train.read(range(TRAIN)), train.paths, None)
    norms = [level.flatten(1).norm(dim=1).tolist() for level in residual]
    theirs = [
        [0, 11.346296, 11.889993, 0, 12.09102, 0, 10.80444, 11.85588, 0, 11.878903, 11.282828,
         12.176044],
        [0, 18.389521, 17.659306, 0, 18.683474, 0, 17.734968, 17.918421, 0, 18.293875, 18.339193,
         18.374212],
        [0, 8.741622, 9.750222, 0, 8.665825, 0, 8.930379, 8.446879, 0, 8.822926, 8.495187, 8.98292],
    ]  # fmt: skip
    for ours, values in zip(norms, theirs, strict=True):
        assert ours == pytest.approx(values, abs=1e-4)


@pytest.mark.parametrize(
    ("epochs", "checks", "due"),
    [
        (200, 25, list(range(8, 208, 8))),  # CFLOW, after each of 25 meta-epochs of 8.
        (640, 640, list(range(1, 641))),  # GLASS, after each epoch.
        (1000, 1, [1000]),  # UniAD, in the end.
    ],
)
def test_results_are_looked_at_as_often_as_theirs(epochs: int, checks: int, due: list[int]) -> None:
    values = iter(range(len(due)))
    measured = EpochChecks(
        TrainingPlan(checks, best_epoch=True), epochs, lambda: {"a": {"m": next(values) % 5}}
    )
    for epoch in range(1, epochs + 1):
        measured(epoch, 0.0)
    best, told, history = measured.report("a", {"m": 2.0})
    assert [int(entry["epoch"]) for entry in history] == due
    # Of each metric the largest counts, whenever it was.
    assert best == {"m": max(float(entry["m"]) for entry in history)}
    assert told["trained"] == epochs


def test_the_pro_of_glass_takes_overlaps_from_dilated_maps() -> None:
    rng = np.random.default_rng(5)
    maps = np.stack([gaussian_filter(one, 1.5) for one in rng.random((4, 48, 48), np.float64)
                     .astype(np.float32)])  # fmt: skip
    masks = np.zeros((4, 48, 48), bool)
    regions = [(0, 5, 9, 5, 8), (1, 20, 22, 30, 31), (1, 40, 47, 2, 6), (2, 0, 3, 44, 48)]
    for image, top, bottom, left, right in regions:
        masks[image, top:bottom, left:right] = True
    found = [(0, 4, 8, 6, 9), (1, 18, 21, 29, 32), (1, 41, 45, 3, 8), (2, 1, 4, 43, 47)]
    for image, top, bottom, left, right in found:
        maps[image, top:bottom, left:right] += 0.15
    assert aupro_dilated(maps, masks) == pytest.approx(0.952815756600126, abs=1e-6)
    assert aupro_paper(maps, masks) == pytest.approx(0.5331060067726429, abs=1e-6)
    assert np.isnan(aupro_dilated(maps, np.zeros_like(masks)))


def test_cflows_maps_are_relative_to_the_likeliest_patch_that_is_scored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(9)
    known = [-4 * torch.rand(3, 6, 6, generator=generator) - 1 for _ in range(3)]
    method = CFlow(224, epochs=1, batch_size=3, patches_per_step=4, published_maps=True)
    levels = [torch.randn(3, 4, 6, 6) for _ in range(3)]
    method.fit([levels])

    def relative(batch: list[torch.Tensor]) -> list[torch.Tensor]:
        # The images are told by their first number.
        rows = [int(image[0, 0, 0]) for image in batch[0]]
        return [part[rows] - method.max_log_likelihood[n] for n, part in enumerate(known)]

    monkeypatch.setattr(method, "_relative_log_likelihoods", relative)
    for image in range(3):
        levels[0][image, 0, 0, 0] = image
    batches = [[level[:2] for level in levels], [level[2:] for level in levels]]
    method.look_at(batches)
    maps, image = (torch.cat(part) for part in zip(*map(method.score, batches), strict=True))
    assert maps.dtype == torch.float64
    # Ours count from the number of levels, theirs from the largest sum: a shift for all.
    theirs = torch.tensor([1.9918342507567859, 1.9699160660358976, 1.937449455568926])
    shift = maps.max() - theirs.max()
    assert image.sub(shift).tolist() == pytest.approx(theirs.tolist(), abs=1e-6)
    means = [1.3600862560841873, 1.4226423497242793, 1.2520769419568991]
    assert (maps.mean((1, 2)) - shift).tolist() == pytest.approx(means, abs=1e-6)
    at = torch.stack([maps[0, 10, 20], maps[1, 111, 200], maps[2, 223, 0]]) - shift
    assert at.tolist() == pytest.approx(
        [1.736282539193193, 1.2446501526490472, 1.7756279613408692], abs=1e-6
    )


@pytest.mark.parametrize(
    ("method", "images", "batches"),
    [
        (CFlow(), 70, 3),
        (CFlow(drop_last=True), 70, 2),
        (CFlow(drop_last=True), 20, 1),
        (UniAD(drop_last=True), 15, 1),
        (Glass(), 1000, 125),
        (Glass(images_per_epoch=400), 1000, 50),
        (Glass(images_per_epoch=400), 60, 8),
    ],
)
def test_an_epoch_takes_as_many_batches_as_theirs(
    method: CFlow | UniAD | Glass, images: int, batches: int
) -> None:
    assert method.batches_of_epoch(images) == batches


def test_the_mean_patch_of_glass_weighs_batches_alike() -> None:
    levels = [torch.randn(11, 4, 6, 6, generator=torch.Generator().manual_seed(1))] * 2
    method = Glass(224, batch_size=4, embedding_dim=8, hidden_dim=8, mean_of_batches=True)
    method.prepare(InMemory(levels), torch.device("cpu"))
    means = [method.embed([level[rows] for level in levels]).mean(0)
             for rows in (slice(0, 4), slice(4, 8), slice(8, 11))]  # fmt: skip
    torch.testing.assert_close(method._mean, torch.stack(means).mean(0))
    assert (method._mean - method.embed(levels).mean(0)).abs().max() > 1e-3
