"""Which pixels of a mask file count as defects, whatever tool wrote it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

import files16
from adpt.data.images import ReadingRules, mask_of, read_mask
from adpt.errors import BadImageError

SIDE = 60
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
DISC = np.hypot(ROWS - 30, COLUMNS - 26) < 15
GREY = (DISC * 255).astype(np.uint8)
INVERTED = ReadingRules(inverted=("",))


def read(tmp_path: Path, image: Image.Image, name: str = "m.png", **options) -> np.ndarray:
    image.save(tmp_path / name, **options)
    return read_mask(tmp_path / name, "bottle")


def palette(colours: list[int], indices: np.ndarray) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette(colours)
    return image


def painted(colour: tuple[int, ...], background: tuple[int, ...]) -> Image.Image:
    pixels = np.where(DISC[..., None], colour, background).astype(np.uint8)
    return Image.fromarray(pixels, {2: "LA", 3: "RGB", 4: "RGBA"}[len(colour)])


@pytest.mark.parametrize("white", [0, 1, 7])
def test_a_palettes_colours_count_not_its_indices(tmp_path: Path, white: int) -> None:
    black = 0 if white else 1
    colours = [0, 0, 0] * 256
    colours[3 * white : 3 * white + 3] = [255, 255, 255]
    image = palette(colours, np.where(DISC, white, black))
    np.testing.assert_array_equal(read(tmp_path, image), DISC)
    np.testing.assert_array_equal(read(tmp_path, image, "m.bmp"), DISC)


def test_a_palette_of_one_bit(tmp_path: Path) -> None:
    image = palette([255, 255, 255, 0, 0, 0], ~DISC)
    np.testing.assert_array_equal(read(tmp_path, image, bits=1), DISC)


def test_a_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    image = palette([255, 255, 255, 255, 0, 0], DISC)
    np.testing.assert_array_equal(read(tmp_path, image, transparency=0), DISC)


@pytest.mark.parametrize("colour", [255, 40, 0], ids=["white", "grey", "black"])
@pytest.mark.parametrize("hidden", [255, 0])
@pytest.mark.parametrize("opaque", [255, 127, 90])
def test_what_is_painted_on_transparent_counts(
    tmp_path: Path, colour: int, hidden: int, opaque: int
) -> None:
    rgba = painted((colour, colour, colour, opaque), (hidden, hidden, hidden, 0))
    np.testing.assert_array_equal(read(tmp_path, rgba), DISC)
    grey = painted((colour, opaque), (hidden, 0))
    np.testing.assert_array_equal(read(tmp_path, grey), DISC)
    np.testing.assert_array_equal(read(tmp_path, rgba, "m.tif"), DISC)
    np.testing.assert_array_equal(read(tmp_path, rgba, "m.webp", lossless=True, exact=True), DISC)


def test_black_beside_other_visible_colours_is_background(tmp_path: Path) -> None:
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    pixels[5:-5, 5:-5, 3] = 255  # A border that is transparent, as of a rotated picture.
    pixels[DISC, :3] = (255, 0, 0)
    np.testing.assert_array_equal(read(tmp_path, Image.fromarray(pixels, "RGBA")), DISC)


@pytest.mark.parametrize("alpha", [255, 128, 0])
def test_a_constant_alpha_says_nothing(tmp_path: Path, alpha: int) -> None:
    image = painted((255, 255, 255, alpha), (0, 0, 0, alpha))
    np.testing.assert_array_equal(read(tmp_path, image), DISC)


def test_an_alpha_that_is_never_near_transparent_says_nothing(tmp_path: Path) -> None:
    image = painted((0, 0, 0, 250), (255, 255, 255, 255))
    np.testing.assert_array_equal(read(tmp_path, image), ~DISC)
    image = painted((255, 255, 255, 250), (0, 0, 0, 255))
    np.testing.assert_array_equal(read(tmp_path, image), DISC)


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_colour_that_stands_for_transparent(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.where(DISC, 0, 255).astype(np.uint8)).convert(mode)
    key = image.getpixel((0, 0))
    np.testing.assert_array_equal(read(tmp_path, image, transparency=key), DISC)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_masks_of_sixteen_bits(tmp_path: Path, channels: int) -> None:
    values = np.zeros((SIDE, SIDE, channels), np.uint16)
    values[DISC] = 1
    if channels in (2, 4):
        values[..., -1] = 65535
    (tmp_path / "m.png").write_bytes(files16.png(values))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", "bottle"), DISC)
    if channels in (2, 4):
        values[...] = 65535
        values[..., -1] = DISC * 65535
        (tmp_path / "m.png").write_bytes(files16.png(values))
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png", "bottle"), DISC)


@pytest.mark.parametrize(
    ("name", "options"),
    [("m.jpg", {"quality": q}) for q in (50, 75, 95)]
    + [("m.webp", {"quality": 60}), ("m.tif", {"compression": "jpeg"})],
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_area_survives_lossy_compression(
    tmp_path: Path, name: str, options: dict[str, object], mode: str
) -> None:
    large = np.kron(GREY, np.ones((5, 5), np.uint8))
    found = read(tmp_path, Image.fromarray(large).convert(mode), name, **options)
    assert abs(found.sum() / (large > 0).sum() - 1) < 0.01
    assert mask_of(tmp_path / name, "bottle").rounded


def test_a_jpeg_of_a_red_mask_and_one_that_is_full(tmp_path: Path) -> None:
    large = np.kron(DISC, np.ones((5, 5), bool))
    red = Image.fromarray(np.where(large[..., None], (255, 0, 0), 0).astype(np.uint8))
    assert abs(read(tmp_path, red, "m.jpg").sum() / large.sum() - 1) < 0.02
    noise = np.random.default_rng(0).integers(250, 256, (SIDE, SIDE), dtype=np.uint8)
    assert read(tmp_path, Image.fromarray(noise), "m.jpg").all()
    assert not read(tmp_path, Image.new("L", (SIDE, SIDE)), "m.jpg").any()


@pytest.mark.parametrize("how", ["BILINEAR", "BICUBIC", "LANCZOS", "BOX"])
@pytest.mark.parametrize("scale", [2, 3, 0.5])
def test_soft_edges_are_taken_for_the_nearer_side(tmp_path: Path, how: str, scale: float) -> None:
    side = round(4 * SIDE * scale)
    large = Image.fromarray(np.kron(GREY, np.ones((4, 4), np.uint8)))
    found = read(tmp_path, large.resize((side, side), Image.Resampling[how]))
    assert abs(found.mean() / DISC.mean() - 1) < 0.02


def test_numbers_of_defects_count_each(tmp_path: Path) -> None:
    numbers = np.zeros((SIDE, SIDE), np.uint8)
    for number, column in enumerate(range(2, 50, 6), start=1):
        numbers[10:14, column : column + 4] = number
    for values in (numbers, numbers * 30):
        np.testing.assert_array_equal(read(tmp_path, Image.fromarray(values)), numbers > 0)
    colours = [0, 0, 0, 128, 0, 0, 0, 128, 0, 0, 0, 200]
    image = palette(colours, numbers % 4)
    np.testing.assert_array_equal(read(tmp_path, image), numbers % 4 > 0)


def test_more_numbers_of_defects_than_a_few_count_each(tmp_path: Path) -> None:
    numbers = np.zeros((200, 300), np.uint16)
    for number in range(40):
        row, column = divmod(number, 8)
        numbers[10 + 38 * row : 20 + 38 * row, 10 + 36 * column : 30 + 36 * column] = number + 1
    colours = np.random.default_rng(0).integers(30, 256, (256, 3))
    colours[0] = 0
    images = [
        Image.fromarray(numbers.astype(np.uint8)),
        Image.fromarray(numbers),
        Image.fromarray(numbers.astype(np.float32)),
        palette(colours.ravel().tolist(), numbers),
        Image.fromarray(colours.astype(np.uint8)[numbers]),
    ]
    for image in images:
        name = "m.tif" if image.mode == "F" else "m.png"
        np.testing.assert_array_equal(read(tmp_path, image, name), numbers > 0)
        assert not mask_of(tmp_path / name, "bottle").rounded


@pytest.mark.parametrize("quality", [85, 95, 99, 100])
def test_a_jpeg_that_was_saved_anew_is_what_was_drawn(tmp_path: Path, quality: int) -> None:
    drawn = Image.new("L", (256, 256))
    canvas = ImageDraw.Draw(drawn)
    canvas.ellipse([60, 60, 68, 66], fill=255)
    canvas.ellipse([120, 120, 180, 180], fill=255)
    canvas.line([(20, 200), (200, 230)], fill=255, width=3)
    drawn.save(tmp_path / "m.jpg", quality=quality)
    with Image.open(tmp_path / "m.jpg") as lossy:
        np.testing.assert_array_equal(read(tmp_path, lossy.copy()), np.asarray(drawn) > 0)
    # Numbers of defects with a bright rim are none of that.
    numbers = np.zeros((100, 100), np.uint8)
    numbers[10:40, 10:60], numbers[50:90, 20:80] = 3, 7
    numbers[10:40, 10:12] = 255
    np.testing.assert_array_equal(read(tmp_path, Image.fromarray(numbers)), numbers > 0)


def test_a_thin_soft_line_is_as_wide_as_it_was_drawn(tmp_path: Path) -> None:
    large = Image.new("L", (1280, 960))
    ImageDraw.Draw(large).line([(100, 100), (900, 700)], fill=255, width=6)
    line = large.resize((320, 240), Image.Resampling.BOX)
    drawn = np.asarray(line) >= 128
    np.testing.assert_array_equal(read(tmp_path, line), drawn)
    shares = Image.fromarray(np.asarray(line, np.float32) / 255)
    np.testing.assert_array_equal(read(tmp_path, shares, "m.tif"), drawn)


def test_small_defects_saved_as_probabilities(tmp_path: Path) -> None:
    small = np.zeros((SIDE, SIDE), np.uint8)
    small[30:34, 40:45] = 255
    soft = Image.fromarray(small).filter(ImageFilter.GaussianBlur(0.8))
    shares = Image.fromarray(np.asarray(soft, np.float32) / 255)
    np.testing.assert_array_equal(read(tmp_path, shares, "m.tif"), np.asarray(soft) >= 128)


@pytest.mark.parametrize("background", [-1, np.nan, np.inf])
def test_numbers_that_mark_nobody_knows_what_are_refused(tmp_path: Path, background) -> None:
    with pytest.raises(BadImageError, match=r"m\.tif.*below 0, or what is no finite number"):
        read(tmp_path, Image.fromarray(np.where(DISC, 1, background).astype(np.float32)), "m.tif")


def test_numbers_of_defects_that_touch_count_each(tmp_path: Path) -> None:
    numbers = np.zeros((SIDE, SIDE), np.uint8)
    numbers[10:20, 10:20], numbers[10:20, 20:22] = 16, 1
    np.testing.assert_array_equal(read(tmp_path, Image.fromarray(numbers)), numbers > 0)


@pytest.mark.parametrize("colours", [(100, 220), (60, 120, 240)])
def test_every_colour_painted_on_transparent_counts(
    tmp_path: Path, colours: tuple[int, ...]
) -> None:
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    for number, colour in enumerate(colours):
        pixels[10:20, 12 * number : 12 * number + 10] = (colour, 0, 0, 255)
    np.testing.assert_array_equal(
        read(tmp_path, Image.fromarray(pixels, "RGBA")), pixels[..., 3] > 0
    )


def test_a_black_that_is_not_quite_black(tmp_path: Path) -> None:
    video = np.where(DISC, 235, 16).astype(np.uint8)
    np.testing.assert_array_equal(read(tmp_path, Image.fromarray(video)), DISC)


@pytest.mark.parametrize("name", ["m.png", "m.jpg"])
def test_inverted_masks(tmp_path: Path, name: str) -> None:
    large = np.kron(~DISC, np.ones((5, 5), bool))
    Image.fromarray((large * 255).astype(np.uint8)).save(tmp_path / name)
    plain, inverted = (mask_of(tmp_path / name, "a/b", r) for r in (ReadingRules(), INVERTED))
    np.testing.assert_array_equal(plain.pixels, ~inverted.pixels)
    assert (plain.marks_most, inverted.marks_most) == (True, False)
    assert abs(inverted.pixels.mean() - DISC.mean()) < 0.01
    other = ReadingRules(inverted=("b/",))
    np.testing.assert_array_equal(mask_of(tmp_path / name, "a/b", other).pixels, plain.pixels)
