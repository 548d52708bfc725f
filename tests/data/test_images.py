"""Files of every kind: what is read from them, and what a broken one says."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adpt.data.images import read_image, read_mask, upright_size
from adpt.errors import BadImageError

GREY = np.array([[0, 100], [200, 255]], np.uint8)
COLOUR = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3) * 4


def stored(tmp_path: Path, image: Image.Image, name: str = "x.png", **options) -> Path:
    path = tmp_path / name
    image.save(path, **options)
    return path


def pixels(path: Path) -> np.ndarray:
    image = read_image(path, "bottle")
    assert image.mode == "RGB"
    return np.asarray(image)


def test_greyscale_is_repeated_over_the_channels(tmp_path: Path) -> None:
    read = pixels(stored(tmp_path, Image.fromarray(GREY)))
    np.testing.assert_array_equal(read, np.repeat(GREY[..., None], 3, axis=2))


def test_one_bit(tmp_path: Path) -> None:
    read = pixels(stored(tmp_path, Image.fromarray(GREY > 150)))
    np.testing.assert_array_equal(read[..., 0], [[0, 0], [255, 255]])


@pytest.mark.parametrize(("name", "dtype"), [("x.png", "<u2"), ("x.tif", "<u2"), ("x.tif", "<i4")])
def test_sixteen_bits_are_scaled_by_their_full_range(tmp_path: Path, name: str, dtype: str) -> None:
    values = np.array([[0, 257], [25700, 65535]]).astype(dtype)
    read = pixels(stored(tmp_path, Image.fromarray(values), name))
    np.testing.assert_array_equal(read[..., 0], [[0, 1], [100, 255]])


def test_big_endian_sixteen_bits(tmp_path: Path) -> None:
    image = Image.frombytes("I;16B", (2, 1), np.array([0, 25700], ">u2").tobytes())
    read = pixels(stored(tmp_path, image, "x.tif"))
    np.testing.assert_array_equal(read[0, :, 0], [0, 100])


@pytest.mark.parametrize("values", [np.float32([[0.5]]), np.int32([[70000]]), np.int32([[-1]])])
def test_numbers_of_unknown_range_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    path = stored(tmp_path, Image.fromarray(values), "x.tif")
    with pytest.raises(BadImageError, match="save 8 or 16 bits"):
        read_image(path, "bottle")


def test_palette_is_resolved(tmp_path: Path) -> None:
    image = Image.fromarray(np.uint8([[0, 1]]), "P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    np.testing.assert_array_equal(pixels(stored(tmp_path, image)), [[[10, 20, 30], [200, 100, 50]]])


def test_transparent_pixels_become_black(tmp_path: Path) -> None:
    colours = np.uint8([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 128]]])
    read = pixels(stored(tmp_path, Image.fromarray(colours, "RGBA")))
    np.testing.assert_array_equal(read[0, :2], [[200, 100, 50], [0, 0, 0]])
    assert abs(int(read[0, 2, 0]) - 100) <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_transparent_colour_becomes_black(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.uint8([[[255, 255, 255], [40, 40, 40]]]))
    image = image.quantize(dither=Image.Dither.NONE) if mode == "P" else image.convert(mode)
    read = pixels(stored(tmp_path, image, transparency=image.getpixel((0, 0))))
    np.testing.assert_array_equal(read[0, :, 0], [0, 40])


@pytest.mark.parametrize("mode", ["LA", "PA", "CMYK", "YCbCr", "LAB"])
def test_other_modes_keep_their_colour(tmp_path: Path, mode: str) -> None:
    grey = Image.new("RGB", (3, 2), (90, 90, 90))
    source = grey.convert("L").convert("LA") if mode == "LA" else grey
    if mode == "PA":
        source = grey.quantize().convert("PA")
    elif mode == "LAB":
        source = Image.new("LAB", (3, 2), (97, 128, 128))  # L* 38, of sRGB's grey 90.
    else:
        source = source.convert(mode)
    read = pixels(stored(tmp_path, source, "x.tif"))
    assert np.abs(read.astype(int) - 90).max() <= 4


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif", "x.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied_and_known_from_the_header(
    tmp_path: Path, name: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth = Image.fromarray(COLOUR).resize((40, 50), Image.Resampling.NEAREST)
    path = stored(tmp_path, smooth, name, exif=exif)
    as_stored = np.asarray(smooth).astype(int)
    upright = {
        1: as_stored,
        2: as_stored[:, ::-1],
        3: as_stored[::-1, ::-1],
        4: as_stored[::-1],
        5: as_stored.transpose(1, 0, 2),
        6: np.rot90(as_stored, -1),
        7: np.rot90(as_stored, 2).transpose(1, 0, 2),
        8: np.rot90(as_stored),
    }[orientation]
    read = pixels(path)
    assert read.shape == upright.shape
    assert np.abs(read - upright).mean() < 12
    assert upright_size(path, "bottle") == read.shape[1::-1]


@pytest.mark.parametrize("value", [1, 7, 128, 255])
@pytest.mark.parametrize("mode", ["L", "P", "I;16", "LA", "RGB", "RGBA"])
def test_mask_counts_every_value_but_zero(tmp_path: Path, value: int, mode: str) -> None:
    marked = np.zeros((3, 4), np.uint8)
    marked[1, 2] = value
    if mode == "P":
        image = Image.fromarray(marked, "P")
        image.putpalette([0, 0, 0] + [255, 0, 0] * 255)
    elif mode == "I;16":
        image = Image.fromarray(marked.astype(np.uint16))
    else:
        image = Image.fromarray(marked).convert(mode)
    np.testing.assert_array_equal(read_mask(stored(tmp_path, image), "bottle"), marked > 0)


def test_one_bit_mask_and_one_coloured_channel(tmp_path: Path) -> None:
    marked = np.zeros((3, 4), bool)
    marked[2, 1] = True
    np.testing.assert_array_equal(
        read_mask(stored(tmp_path, Image.fromarray(marked)), "bottle"), marked
    )
    blue = np.zeros((3, 4, 3), np.uint8)
    blue[2, 1, 2] = 1
    np.testing.assert_array_equal(
        read_mask(stored(tmp_path, Image.fromarray(blue)), "bottle"), marked
    )


def broken(path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    content = file.getvalue()
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to(path.parent / "gone.png")
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "too many pixels":
        header = struct.pack(">4sIIBBBBB", b"IHDR", 20000, 20000, 8, 0, 0, 0, 0)
        path.write_bytes(
            content[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
        )
    elif kind == "damaged":
        path.write_bytes(content[:200] + bytes(200) + content[400:])
    else:
        path.write_bytes(
            {
                "empty": b"",
                "text": b"not an image",
                "truncated": content[: len(content) // 2],
                "header only": content[:33],
            }[kind]
        )


KINDS = (
    "empty", "text", "truncated", "header only", "damaged", "folder", "dangling link",
    "link to itself", "too many pixels",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("read", [read_image, read_mask])
def test_broken_file_is_named_with_its_class(tmp_path: Path, kind: str, read) -> None:
    path = tmp_path / "x.png"
    broken(path, kind)
    with pytest.raises(BadImageError) as caught:
        read(path, "bottle")
    message = str(caught.value)
    assert f"{path} (class 'bottle')" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "it holds no byte"), (b"x", "cannot identify"), (b"\x89P", "cannot identify")],
)
def test_a_file_of_hardly_a_byte_is_told_in_words(tmp_path: Path, content: bytes, said) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(BadImageError, match=f"cannot be read as an image: {said}"):
        read_image(path, "bottle")


def test_header_check_does_not_decode_a_png(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    broken(path, "truncated")
    assert upright_size(path, "bottle") == (64, 64)
