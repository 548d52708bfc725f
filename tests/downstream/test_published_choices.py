"""Each choice of `protocol=paper` against values recorded from the authors' code.

The values were recorded by running functions of github.com/xcyao00/ADPretrain (as of commit 8d1a32c
of its fork by shirazzyy) on the inputs that are made here: torchvision's `Resize` (bicubic) and
`CenterCrop` as their data sets chain them; the mask transforms of GLASS's data sets; the
approximate greedy coreset sampler with identity projection and the ten starts that our generator
draws; GLASS's `compute_pro` and `calculate_aupro`; and CFLOW's `train_val`, in which the
log-likelihoods of test images were put in place of those that a training gives, and the maps taken
from what it hands to its metrics.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from adpt.data.transforms import Geometry
from adpt.methods import CFlow, Glass, UniAD
from adpt.methods.coreset import greedy_coreset
from adpt.methods.feature_sets import InMemory
from adpt.metrics import aupro_dilated, aupro_paper

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


@pytest.mark.parametrize(("how", "pixels"), [("within", 1173), ("touched", 1429)])
def test_masks_are_those_of_glass(how: str, pixels: int) -> None:
    mask = np.zeros((300, 401), bool)
    mask[40:71, 100:173] = mask[200:203, 300:310] = mask[150, 200] = True
    geometry = Geometry(224, 224, as_torchvision=True, mask_resize=how)
    assert geometry.mask(mask).sum() == pixels


def test_the_coreset_picks_the_same_patches() -> None:
    points = torch.randn(200, 128, generator=torch.Generator().manual_seed(3))
    points = points * torch.linspace(0.2, 3, 200)[:, None]
    generator = torch.Generator().manual_seed(42)
    assert greedy_coreset(points, 30, generator, num_starts=10).tolist() == CORESET


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
