"""Defects for GLASS: Perlin masks, foreign textures, where the product is, and their blending."""

import logging
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from adpt.data.foreground import estimate_foreground, mask_files
from adpt.data.foreign_textures import TextureFolder, augment, render_texture
from adpt.data.perlin import perlin_mask, perlin_noise
from adpt.data.procedural import DOWNSTREAM_PRODUCTS, PRETRAINING_PRODUCTS
from adpt.data.procedural.photographs import Shot, photograph
from adpt.data.texture_defects import TextureDefects
from adpt.data.transforms import Geometry
from adpt.errors import DataError

SIZE = 64
IMAGE = torch.randint(0, 255, (3, SIZE, SIZE), generator=torch.Generator().manual_seed(0)).byte()
BLACK = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def white_textures(folder: Path) -> Path:
    write(folder / "paper" / "white.png", np.full((40, 50, 3), 255))
    return folder


# ---- Perlin noise ----------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [0.0, 0.7])
def test_noise_equals_the_literal_version(turn: float) -> None:
    shape, cells = (12, 9), (3, 2)
    found = perlin_noise(rng(4), shape, cells, turn)
    angles = rng(4).uniform(0, 2 * np.pi, (8, 6))

    def fade(t: float) -> float:
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    for i in range(shape[0]):
        for j in range(shape[1]):
            down, across = (i + 0.5) / shape[0] - 0.5, (j + 0.5) / shape[1] - 0.5
            y = (np.cos(turn) * down - np.sin(turn) * across + 1) * cells[0]
            x = (np.sin(turn) * down + np.cos(turn) * across + 1) * cells[1]
            value = 0.0
            for row in (int(y), int(y) + 1):
                for column in (int(x), int(x) + 1):
                    gradient = np.cos(angles[row, column]), np.sin(angles[row, column])
                    weight = (1 - fade(abs(y - row))) * (1 - fade(abs(x - column)))
                    value += weight * (gradient[0] * (y - row) + gradient[1] * (x - column))
            assert found[i, j] == pytest.approx(np.sqrt(2) * value, abs=1e-12)


def test_noise_is_smooth_and_takes_both_signs() -> None:
    fields = np.stack([perlin_noise(rng(seed), (96, 96), (4, 8), 0.3) for seed in range(20)])
    assert np.abs(fields).max() <= 1
    assert abs(fields.mean()) < 0.05
    assert 0.2 < fields.std() < 0.4
    # A pixel is a twelfth of a cell: next to each other, values hardly differ.
    assert np.abs(np.diff(fields, axis=2)).mean() < 0.3 * fields.std()
    assert all(field.min() < -0.3 and field.max() > 0.3 for field in fields)


def test_masks_cover_little_and_differ_in_size() -> None:
    areas = np.array([perlin_mask(rng(seed), (64, 64)).mean() for seed in range(300)])
    assert 0.03 < areas.mean() < 0.09
    assert areas.max() < 0.5
    assert np.quantile(areas, 0.9) > 5 * max(np.quantile(areas, 0.2), 0.002)
    assert 0 < (areas == 0).mean() < 0.2


# ---- Textures --------------------------------------------------------------------------------


def test_drawn_textures_differ_fill_the_picture_and_follow_the_seed() -> None:
    textures = [render_texture(rng(seed), (40, 56)) for seed in range(30)]
    assert all(t.shape == (3, 40, 56) and t.dtype == torch.uint8 for t in textures)
    assert all(torch.equal(render_texture(rng(s), (40, 56)), textures[s]) for s in range(5))
    means = torch.stack([t.float().mean((1, 2)) for t in textures])
    assert means.std(0).min() > 25
    assert sum(bool(t.float().std((1, 2)).max() > 5) for t in textures) > 25


def test_changes_follow_the_seed_and_leave_no_empty_corner() -> None:
    texture = render_texture(rng(1), (48, 48))
    changed = [augment(texture, rng(seed)) for seed in range(20)]
    assert all(c.shape == texture.shape and c.dtype == torch.uint8 for c in changed)
    assert torch.equal(augment(texture, rng(3)), changed[3])
    assert sum(torch.equal(c, texture) for c in changed) == 0
    white = torch.full((3, 48, 48), 255, dtype=torch.uint8)
    assert min(int(augment(white, rng(seed)).min()) for seed in range(60)) >= 150


def test_changes_leave_the_global_generators_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    TextureDefects()(IMAGE, 3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_texture_files_are_found_in_subfolders_and_cropped(tmp_path: Path) -> None:
    write(tmp_path / "a" / "left.png", np.full((20, 60, 3), 10))
    write(tmp_path / "b" / "c" / "right.jpg", np.full((60, 20, 3), 200))
    folder = TextureFolder(tmp_path)
    drawn = [folder(rng(seed), (16, 24)) for seed in range(20)]
    assert all(t.shape == (3, 16, 24) for t in drawn)
    assert {round(t.float().mean().item(), -1) for t in drawn} == {10, 200}


def test_a_broken_texture_is_named_once_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    white_textures(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    folder = TextureFolder(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert all((folder(rng(seed), (8, 8)) == 255).all() for seed in range(10))
    assert [record.getMessage().count("broken.png") for record in caplog.records] == [1]


def test_folders_without_a_readable_texture_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No texture images were found in"):
        TextureDefects(textures=tmp_path / "missing")
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="None of the 1 texture files"):
        TextureDefects(textures=tmp_path)(IMAGE, 0)


# ---- Foreground ------------------------------------------------------------------------------


def on_background(row: int, column: int, radius: int) -> tuple[Tensor, Tensor]:
    """A disc before an uneven background, and where it is."""
    y, x = np.mgrid[:96, :96]
    disc = (y - row) ** 2 + (x - column) ** 2 < radius**2
    background = 120 + 0.4 * x + rng().normal(0, 3, (96, 96))
    pixels = np.where(disc, 40.0, background)
    image = torch.from_numpy(np.repeat(pixels[None], 3, 0)).to(torch.uint8)
    return image, torch.from_numpy(disc)


@pytest.mark.parametrize(("row", "column", "radius"), [(48, 48, 30), (30, 60, 20), (50, 40, 12)])
def test_a_product_before_a_background_is_found(row: int, column: int, radius: int) -> None:
    image, disc = on_background(row, column, radius)
    found = estimate_foreground(image)
    assert (found & disc).sum() >= 0.99 * disc.sum()
    assert (found & ~disc).sum() < 0.5 * disc.sum()


@pytest.mark.parametrize("name", ["woven_cloth", "wood_plank", "speckled_stone", "leather"])
def test_a_texture_is_a_product_as_a_whole(name: str) -> None:
    product = {**PRETRAINING_PRODUCTS, **DOWNSTREAM_PRODUCTS}[name]
    for index in range(3):
        picture = photograph(product, Shot(0, name, "C1", "test", index), 96)
        assert estimate_foreground(torch.from_numpy(picture).permute(2, 0, 1)).all()


@pytest.mark.parametrize("name", ["gear", "crown_cap", "key", "cup"])
def test_a_drawn_object_is_parted_from_its_table(name: str) -> None:
    product = {**PRETRAINING_PRODUCTS, **DOWNSTREAM_PRODUCTS}[name]
    picture = photograph(product, Shot(0, name, "C1", "test", 0), 96)
    found = estimate_foreground(torch.from_numpy(picture).permute(2, 0, 1))
    assert 0.05 < found.float().mean() < 0.7
    corners = found[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert not corners.any()


@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_picture_of_one_colour_is_a_product_as_a_whole(value: int) -> None:
    assert estimate_foreground(torch.full((3, 30, 20), value, dtype=torch.uint8)).all()


@pytest.mark.parametrize(
    "place", ["bottle/train/good/000.png", "train/good/000.png", "bottle/000.png", "000.png"]
)
def test_masks_are_found_by_the_images_name(tmp_path: Path, place: str) -> None:
    file = write(tmp_path / place, np.zeros((4, 4)))
    for image in ("/data/mvtec/bottle/train/good/000.png", "/d/bottle/train/good/000.JPG"):
        found = [path for path in mask_files(tmp_path, Path(image)) if path.is_file()]
        assert found[0] == file


@pytest.mark.parametrize(("of_file", "of_image"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_masks_are_found_in_either_unicode_form(tmp_path: Path, of_file, of_image) -> None:
    in_folder, in_set = (unicodedata.normalize(form, "ü") for form in (of_file, of_image))
    file = write(tmp_path / in_folder / f"{in_folder}.png", np.zeros((4, 4)))
    image = Path(f"/d/{in_set}/train/good/{in_set}.jpg")
    assert next(path for path in mask_files(tmp_path, image) if path.is_file()) == file


def test_the_most_specific_mask_comes_first(tmp_path: Path) -> None:
    write(tmp_path / "000.png", np.zeros((4, 4)))
    file = write(tmp_path / "bottle" / "000.png", np.zeros((4, 4)))
    image = Path("/data/mvtec/bottle/train/good/000.png")
    assert next(path for path in mask_files(tmp_path, image) if path.is_file()) == file


# ---- Blending --------------------------------------------------------------------------------


def test_only_the_masked_pixels_change_and_by_the_stated_shares(tmp_path: Path) -> None:
    draw = TextureDefects(white_textures(tmp_path), foreground="none")
    shares = []
    for seed in range(60):
        image, mask = draw(BLACK, seed)
        assert image.dtype == torch.uint8
        assert mask.dtype == torch.bool
        assert (image[:, ~mask] == 0).all()
        inside = image[:, mask].float() / 255
        assert inside.min() > 0.2 * 0.6
        assert inside.max() < 0.81
        shares.append(float(inside.max()))
    assert 0.4 < np.mean(shares) < 0.55
    assert np.std(shares) > 0.05


def test_the_images_own_share_is_that_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adpt.data.texture_defects._OWN_SHARE", (0.7, 0.0))
    monkeypatch.setattr("adpt.data.texture_defects.augment", lambda texture, *_, **__: texture)
    draw = TextureDefects(textures=white_textures(tmp_path), foreground="none")
    image, mask = draw(BLACK, 0)
    assert set(image[:, mask].unique().tolist()) == {76}  # 0.3 of white.


def test_a_defect_that_would_leave_no_trace_is_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    speck, spot = np.zeros((2, 100, 100), dtype=np.bool_)
    speck[0, :4], spot[0, :5] = True, True  # Just below and at the smallest share.
    masks = iter([speck, speck, spot])
    monkeypatch.setattr("adpt.data.texture_defects.perlin_mask", lambda *_, **__: next(masks))
    _, mask = TextureDefects(foreground="none")(torch.zeros(3, 100, 100, dtype=torch.uint8), 0)
    assert int(mask.sum()) == 5


def test_the_seed_decides() -> None:
    draw = TextureDefects()
    drawn = [draw(IMAGE, seed) for seed in range(8)]
    for seed, (image, mask) in enumerate(drawn):
        again = draw(IMAGE, seed)
        assert torch.equal(again[0], image)
        assert torch.equal(again[1], mask)
    assert len({mask.numpy().tobytes() for _, mask in drawn}) == 8


def test_masks_are_never_empty_and_lie_on_the_product() -> None:
    image, disc = on_background(48, 48, 25)
    allowed = estimate_foreground(image)
    draw = TextureDefects()
    for seed in range(40):
        mask = draw(image, seed)[1]
        assert mask.any()
        assert not (mask & ~allowed).any()
    assert any((draw(image, seed)[1] & disc).any() for seed in range(5))


def test_masks_from_a_folder_are_brought_to_the_images_geometry(tmp_path: Path) -> None:
    pixels = np.zeros((100, 200))
    pixels[:, :80] = 1  # Any value but 0 is the product.
    write(tmp_path / "masks" / "cup" / "1.png", pixels)
    path = "/data/cup/train/good/1.jpg"
    squeezed = TextureDefects(foreground=tmp_path / "masks")
    cropped = TextureDefects(
        foreground=tmp_path / "masks", geometry=Geometry((SIZE, SIZE), resize=SIZE)
    )
    right = {"squeezed": 0, "cropped": 0}
    for seed in range(60):
        for name, draw in (("squeezed", squeezed), ("cropped", cropped)):
            columns = draw(IMAGE, seed, path)[1].any(0).nonzero()
            right[name] = max(right[name], int(columns.max()))
    # 80 of 200 columns of 64; of the middle square, columns 50 to 150, the first 30 in 100.
    assert 20 <= right["squeezed"] < 26
    assert 14 <= right["cropped"] < 20


def test_a_product_that_allows_nothing_gives_way(tmp_path: Path) -> None:
    write(tmp_path / "1.png", np.zeros((8, 8)))
    assert TextureDefects(foreground=tmp_path)(IMAGE, 0, "/data/1.png")[1].any()


def test_an_image_without_a_mask_file_gets_the_estimate_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "1.png", np.ones((8, 8)))
    draw, own = TextureDefects(foreground=tmp_path), TextureDefects()
    image, _ = on_background(48, 48, 25)
    with caplog.at_level(logging.WARNING):
        for seed in range(3):
            assert torch.equal(draw(image, seed, "/data/2.png")[1], own(image, seed)[1])
    assert [record.getMessage().count("/data/2.png") for record in caplog.records] == [1]


def test_a_folder_without_masks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No foreground masks were found"):
        TextureDefects(foreground=tmp_path / "missing")
