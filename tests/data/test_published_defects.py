"""GLASS's drawn defects under `protocol=paper`: distributed as those of the authors' code.

The figures were recorded by running functions of github.com/xcyao00/ADPretrain (as of commit
8d1a32c of its fork by shirazzyy): `perlin_mask` with imgaug 0.4 on 96 × 96 pixels and 6 × 6
patches, 2,000 times; the changes of textures of its GLASS data set on the picture that is made
here, 2,000 times; and that data set's foreground transform on the mask below. Random numbers are of
other generators, so statistics are compared, within about three standard errors.
"""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adpt.data.foreign_textures import TextureFolder, augment
from adpt.data.perlin import perlin_mask
from adpt.data.texture_defects import TextureDefects
from adpt.data.transforms import Geometry

SIDE, DRAWS = 96, 250


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def masks(count: int, turn_picture: bool) -> np.ndarray:
    drawn = (perlin_mask(rng(s), (SIDE, SIDE), turn_picture=turn_picture) for s in range(2 * count))
    return np.stack(list(islice((mask for mask in drawn if mask.any()), count)))


def corner_share(drawn: np.ndarray) -> float:
    """Share of the pixels that lie in defects, in the four corners of 24 × 24."""
    cells = drawn.reshape(-1, 4, 24, 4, 24).mean((0, 2, 4))
    return float(cells[[0, 0, -1, -1], [0, -1, 0, -1]].mean())


def test_masks_are_distributed_as_theirs() -> None:
    drawn = masks(DRAWS, turn_picture=True)
    areas = drawn.mean((1, 2))
    assert areas.mean() == pytest.approx(0.0485, abs=0.009)
    patches = drawn.reshape(-1, 6, 16, 6, 16).any((2, 4)).mean((1, 2))
    assert patches.mean() == pytest.approx(0.486, abs=0.07)
    assert (areas < 0.002).mean() == pytest.approx(0.1575, abs=0.075)
    assert np.quantile(areas, (0.25, 0.5, 0.75, 0.9)) == pytest.approx(
        (0.0051, 0.0422, 0.0718, 0.0995), abs=0.013
    )
    assert corner_share(drawn) == pytest.approx(0.0278, abs=0.01)
    # Our own fill the corners.
    assert corner_share(masks(DRAWS, turn_picture=False)) > 0.045


def textures(folder: Path) -> TextureFolder:
    rows, columns = np.mgrid[:120, :150]
    channels = (
        60 + (rows * 3 + columns) % 180, 60 + columns * 2 % 150,
        60 + (rows * 5 + columns * 7) % 190,
    )  # fmt: skip
    Image.fromarray(np.stack(channels, -1).astype(np.uint8)).save(folder / "0.png")
    return TextureFolder(folder, shorter=SIDE)


def test_textures_are_changed_as_theirs_and_cropped_afterwards(tmp_path: Path) -> None:
    folder = textures(tmp_path)
    texture = folder(rng(0), (SIDE, SIDE))
    assert texture.shape == (3, 96, 120)
    changed = torch.stack([augment(texture, rng(s), empty_corners=True) for s in range(DRAWS)])
    found = changed[..., 12:108].float() / 255
    black = (found.amax(1) == 0).float().mean((1, 2))
    assert (black > 0.005).float().mean() == pytest.approx(0.3165, abs=0.09)
    assert black.mean() == pytest.approx(0.0203, abs=0.008)
    grey = (found == found[:, :1]).flatten(1).all(1)
    assert grey.float().mean() == pytest.approx(0.3355, abs=0.09)
    means, spreads = found.mean((2, 3)), found.flatten(2).std(2)
    assert means.mean(0).tolist() == pytest.approx([0.5271, 0.5127, 0.5317], abs=0.012)
    assert means.std(0).tolist() == pytest.approx([0.0488, 0.0430, 0.0509], abs=0.009)
    assert spreads.mean(0).tolist() == pytest.approx([0.2288, 0.2095, 0.2286], abs=0.01)


@pytest.mark.parametrize(("resize", "pixels"), [(224, 1429), (256, 1745)])
def test_foregrounds_are_all_pixels_that_a_mask_touches(
    tmp_path: Path, resize: int, pixels: int
) -> None:
    mask = np.zeros((300, 401), np.uint8)
    mask[40:71, 100:173] = mask[200:203, 300:310] = mask[150, 200] = 255
    Image.fromarray(mask).save(tmp_path / "0.png")
    geometry = Geometry(224, resize, as_torchvision=True, mask_resize="within")
    draw = TextureDefects(foreground=tmp_path, published=True, geometry=geometry)
    image = torch.zeros(3, 224, 224, dtype=torch.uint8)
    assert draw._allowed(image, "0.png").sum() == pixels
    assert geometry.mask_resize == "within"


def test_defects_may_be_as_small_as_a_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    speck = np.zeros((100, 100), dtype=np.bool_)
    speck[3, 4] = True
    monkeypatch.setattr("adpt.data.texture_defects.perlin_mask", lambda *_, **__: speck)
    _, mask = TextureDefects(foreground="none", published=True)(
        torch.zeros(3, 100, 100, dtype=torch.uint8), 0
    )
    assert int(mask.sum()) == 1
