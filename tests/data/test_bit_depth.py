"""16-bit files whose numbers take fewer bits: by option, by metadata, by the set's own range."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import drawn
import files16
from adpt.data import Folder, Mixed, images
from adpt.data.images import ReadingRules, depth_in_use, read_image, read_mask, reading_rules
from adpt.errors import BadImageError, UserError

TWELVE = ReadingRules({"": 12})
RNG = np.random.default_rng(0)


def values(bits: int, channels: int = 1, shape: tuple[int, int] = (6, 7)) -> np.ndarray:
    drawn_values = RNG.integers(0, 2**bits, (*shape, channels), dtype=np.uint16)
    drawn_values[0, 0], drawn_values[0, 1] = 2**bits - 1, 0
    return drawn_values


def expected(numbers: np.ndarray, bits: int) -> np.ndarray:
    return np.round(numbers * 255.0 / (2**bits - 1)).astype(np.uint8)


def files(tmp_path: Path, numbers: np.ndarray) -> list[Path]:
    """The same numbers in every format that holds them."""
    contents = {"a.png": files16.png(numbers)}
    if numbers.shape[-1] != 2:
        for order in "<>":
            contents[f"a{order}.tif"] = files16.tiff(numbers, order=order)
            contents[f"a{order}deflate.tif"] = files16.tiff(numbers, order=order, compressed=True)
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in contents]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_numbers_are_scaled_by_the_bits_in_use(tmp_path: Path, channels: int, bits: int) -> None:
    numbers = values(bits, channels)
    if channels in (2, 4):
        numbers[..., -1] = 65535  # Opaque, whatever the colours take.
    colours = numbers[..., :1] if channels < 3 else numbers[..., :3]
    wanted = np.broadcast_to(expected(colours, bits), (6, 7, 3))
    for path in files(tmp_path, numbers):
        read = read_image(path, "bottle", ReadingRules({"": bits}))
        np.testing.assert_array_equal(np.asarray(read), wanted, err_msg=path.name)
        assert depth_in_use(path) == (10 if bits == 9 else bits), path.name


def test_by_itself_a_file_takes_the_whole_range(tmp_path: Path) -> None:
    numbers = values(12)
    for path in files(tmp_path, numbers):
        np.testing.assert_array_equal(
            np.asarray(read_image(path, "bottle"))[..., :1], (numbers.astype(int) + 128) // 257
        )


def test_a_file_that_nothing_tells_of_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(images, "_not_told", [])
    for name in ("one.png", "two.png"):
        Image.fromarray(np.full((4, 4), 4095, np.uint16)).save(tmp_path / name)
    read_image(tmp_path / "one.png", "key", reading_rules(12, False, 1000))
    assert not caplog.text
    for name in ("one.png", "two.png"):
        read_image(tmp_path / name, "key")
    assert "one.png holds 16-bit numbers" in caplog.text
    assert "data.bit_depth" in caplog.text
    assert len(caplog.records) == 1


def test_interlaced_and_turned_colours_keep_their_bits(tmp_path: Path) -> None:
    numbers = values(12, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.png"
    path.write_bytes(files16.png(numbers, (b"eXIf", exif.tobytes()[6:])))
    read = np.asarray(read_image(path, "bottle", TWELVE))
    np.testing.assert_array_equal(read, expected(np.rot90(numbers, -1), 12))


@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_pixels_of_sixteen_bits_become_black(tmp_path: Path, channels: int) -> None:
    numbers = values(12, channels)
    numbers[3, 3] = numbers[2, 3]
    numbers[3, 3, 0] ^= 0xFF0  # Alike in all channels but one, a pixel is not transparent.
    key = numbers[2, 3].astype(">u2").tobytes()
    path = tmp_path / "a.png"
    path.write_bytes(files16.png(numbers, (b"tRNS", key)))
    wanted = expected(numbers, 12)
    wanted[(numbers == numbers[2, 3]).all(-1)] = 0
    np.testing.assert_array_equal(
        np.asarray(read_image(path, "bottle", TWELVE))[..., :channels], wanted
    )


def told(tmp_path: Path, numbers: np.ndarray) -> list[Path]:
    """Files that say by themselves that 12 bits are in use."""
    channels = numbers.shape[-1]
    contents = {
        "sbit.png": files16.png(numbers, (b"sBIT", bytes([12] * channels))),
        "max.tif": files16.tiff(numbers, [(281, [4095] * channels)]),
        "smax.tif": files16.tiff(numbers, [(341, [4095] * channels)]),
        "white.tif": files16.tiff(numbers, [(50717, [4095])]),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    described = Image.fromarray(numbers[..., 0])
    ome = '<OME><Pixels SignificantBits="12" Type="uint16"/></OME>'
    described.save(tmp_path / "ome.tif", description=ome)
    return [tmp_path / name for name in (*contents, "ome.tif")]


@pytest.mark.parametrize("channels", [1, 3])
def test_metadata_tell(tmp_path: Path, channels: int) -> None:
    numbers = values(9, channels)
    for path in told(tmp_path, numbers):
        read = np.asarray(read_image(path, "bottle"))[..., :1]
        np.testing.assert_array_equal(read, expected(numbers[..., :1], 12), err_msg=path.name)
        assert depth_in_use(path) == 12, path.name
        # The option goes first.
        read = np.asarray(read_image(path, "bottle", ReadingRules({"": 16})))[..., :1]
        np.testing.assert_array_equal(read, expected(numbers[..., :1], 16), err_msg=path.name)


def test_a_tiff_of_twelve_bits_a_pixel(tmp_path: Path) -> None:
    numbers = values(12, shape=(4, 6))[..., 0].astype(int)
    pairs = numbers.reshape(-1, 2)
    packed = np.stack(
        [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1
    )
    whole = files16.tiff(np.zeros((4, 6, 1)), [(258, [12])])
    content = whole[: -4 * 6 * 2] + packed.astype(np.uint8).tobytes()
    (tmp_path / "a.tif").write_bytes(content + bytes(12))
    read = np.asarray(read_image(tmp_path / "a.tif", "bottle"))[..., 0]
    np.testing.assert_array_equal(read, expected(numbers, 12))


def test_a_statistic_of_one_picture_says_nothing(tmp_path: Path) -> None:
    numbers = values(9)
    (tmp_path / "a.tif").write_bytes(files16.tiff(numbers, [(281, [500])]))
    read = np.asarray(read_image(tmp_path / "a.tif", "bottle"))[..., :1]
    np.testing.assert_array_equal(read, expected(numbers, 16))


def test_numbers_stretched_as_pngs_standard_wants_it(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(files16.png(values(12) << 4, (b"sBIT", b"\x0c")))
    assert depth_in_use(path) == 16
    path.write_bytes(files16.png(np.full((4, 4), 4096, np.uint16), (b"sBIT", b"\x0c")))
    assert depth_in_use(path) == 16


def test_of_channels_the_deepest_decides(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(files16.png(values(9, 3), (b"sBIT", bytes([10, 12, 9]))))
    assert depth_in_use(path) == 12


@pytest.mark.parametrize("largest", [1024, 4095])
def test_a_value_beyond_the_bits_in_use_is_named(tmp_path: Path, largest: int) -> None:
    for path in files(tmp_path, values(12, 3).clip(max=largest)):
        with pytest.raises(BadImageError) as caught:
            read_image(path, "bottle", ReadingRules({"": 10}))
        for part in (str(path), f"the value {largest}", "10 bits", "data.bit_depth=16"):
            assert part in str(caught.value)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_numbers_that_begin_with_white_are_refused(tmp_path: Path, read) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(files16.tiff(values(12), [(262, [0])]))
    with pytest.raises(BadImageError, match=r"a\.tif.*0 stands for white"):
        read(path, "bottle")


def test_planes_that_pillow_would_misread_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(files16.tiff(values(16, 3), planar=2))
    with pytest.raises(BadImageError, match="planes"):
        read_image(path, "bottle")


# ---- Sets ------------------------------------------------------------------------------------


def deepen(root: Path, bits: int, suffix: str = ".png") -> Path:
    """Turn a drawn set's images into greyscale of 16-bit numbers, the darkest first."""
    for number, image in enumerate(sorted(root.rglob("*.png"))):
        if "ground_truth" in image.parts:
            continue
        grey = np.asarray(Image.open(image).convert("L")).astype(np.uint16) << bits - 8
        grey[0, 0] = 2**bits - 1 if "train" in image.parts and number % 2 else 40
        image.unlink()
        Image.fromarray(grey).save(image.with_suffix(suffix))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return deepen(drawn.draw_folder(tmp_path / "set", ("a", "b"), good=2, defective=2), 12)


def test_a_sets_range_is_that_of_its_normal_training_images(root: Path) -> None:
    Image.fromarray(np.full((48, 48), 60000, np.uint16)).save(root / "a/test/good/009.png")
    data = Folder(root, image_size=48)
    data.setup()
    assert data.geometry.decides()["bit_depth"] == {"": 12}
    batch = data.read(data.select("train", 0, "a"))
    assert batch.image.max() == 255
    with pytest.raises(BadImageError, match=r"009\.png.*60000.*data\.bit_depth=16"):
        data.read(data.select("test", 0, "a"))
    wide = Folder(root, image_size=48, bit_depth=16)
    wide.setup()
    assert wide.geometry.decides()["bit_depth"] == {"": 16}
    assert wide.read(wide.select("train", 0, "a")).image.max() == 16
    assert wide.read(wide.select("test", 0, "a")).image.max() == 233


def test_a_single_image_of_many_may_take_the_most_bits(tmp_path: Path) -> None:
    folder = tmp_path / "key" / "train" / "good"
    folder.mkdir(parents=True)
    for number in range(70):
        bits = 14 if number == 0 else 12
        (folder / f"{number:03d}.png").write_bytes(files16.png(values(bits)))
    data = Folder(tmp_path)
    data.setup()
    assert data.geometry.decides()["bit_depth"] == {"": 14}


@pytest.mark.parametrize("options", [{"train_fraction": 0.2}, {"noise_ratio": 0.3}, {"seed": 3}])
def test_what_is_chosen_of_a_set_does_not_move_its_range(root: Path, options: dict) -> None:
    data = Folder(root, **options)
    data.setup()
    assert data.geometry.decides()["bit_depth"] == {"": 12}


def test_workers_read_as_the_main_process_does(root: Path) -> None:
    one, several = Folder(root, num_workers=0), Folder(root, num_workers=2, batch_size=2)
    for data in (one, several):
        data.setup()
    samples = one.select("test")
    whole = next(iter(one.loader(samples))).image
    parts = [image for batch in several.loader(samples) for image in batch.image]
    assert len(parts) == len(whole)
    assert all((a == b).all() for a, b in zip(parts, whole, strict=True))


def test_sets_of_eight_bits_have_no_depth_and_decode_nothing(
    mvtec_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adpt.data.images._decode", None)
    data = Folder(mvtec_root)
    data.setup()
    assert data.geometry.decides()["bit_depth"] == {}


def test_each_set_of_a_mixture_keeps_its_own(tmp_path: Path, mvtec_root: Path) -> None:
    parts = {
        f"s{bits}": Folder(deepen(drawn.draw_folder(tmp_path / str(bits), ("a",)), bits, ".tif"))
        for bits in (10, 12)
    }
    mixed = Mixed({**parts, "plain": Folder(mvtec_root)})
    mixed.setup()
    assert mixed.geometry.decides()["bit_depth"] == {"s10/": 10, "s12/": 12}
    for bits in (10, 12):
        both = mixed.select("train", 0, f"s{bits}/a"), parts[f"s{bits}"].select("train", 0)
        ours, alone = mixed.read(both[0]).image, parts[f"s{bits}"].read(both[1]).image
        assert (ours == alone).all()
    assert Mixed(parts, bit_depth=16).geometry.rules.bit_depth("s10/a") == 16


@pytest.mark.parametrize("wrong", [7, 17, 12.0, True, "12"])
def test_a_depth_that_is_none_is_refused(tmp_path: Path, wrong: object) -> None:
    with pytest.raises(UserError, match=r"data\.bit_depth"):
        Folder(tmp_path, bit_depth=wrong)


def test_other_options_of_reading_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.invert_masks"):
        Folder(tmp_path, invert_masks="yes")
    with pytest.raises(UserError, match="max_megapixels"):
        Folder(tmp_path, max_megapixels=0)


def test_a_pipe_among_the_images_blocks_nothing(root: Path) -> None:
    shutil.rmtree(root / "b")
    os.mkfifo(root / "a/train/good/zz.png")
    data = Folder(root)
    data.setup()
    assert data.geometry.decides()["bit_depth"] == {"": 12}
