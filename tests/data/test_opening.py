"""Files of several pictures, and pictures of many pixels."""

import os
import socket
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import AppendingTiffWriter, ImageFileDirectory_v2

import drawn
import warm
from adpt.data import Folder, Sample
from adpt.data.examination.pictures import examine_sample
from adpt.data.images import ReadingRules, depth_in_use, read_image, read_mask, upright_size
from adpt.data.reading import PlainImages
from adpt.data.sample import UnreadSample
from adpt.data.transforms import Geometry
from adpt.errors import BadImageError
from faults import claim

PAGES = [Image.fromarray(drawn.picture("bottle", number)[0]) for number in range(3)]


def tiff_of(path: Path, *pages: tuple[Image.Image, dict[int, int]]) -> Path:
    """A TIFF of several pages, each with tags of its own."""
    with AppendingTiffWriter(path, True) as writer:
        for page, tags in pages:
            info = ImageFileDirectory_v2()
            for tag, value in tags.items():
                info[tag] = value
            page.save(writer, "TIFF", tiffinfo=info)
            writer.newFrame()
    return path


def animated(path: Path, **options: object) -> Path:
    PAGES[0].save(path, save_all=True, append_images=PAGES[1:], **options)
    return path


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_several_pictures_are_refused_by_name(tmp_path: Path, read) -> None:
    paths = [
        animated(tmp_path / "x.tif"),
        animated(tmp_path / "c.tif", compression="tiff_lzw"),
        animated(tmp_path / "x.png"),
        animated(tmp_path / "x.webp", lossless=True),
        animated(tmp_path / "gif.png", format="GIF"),
        animated(tmp_path / "own_default.png", format="PNG", default_image=True),
        tiff_of(tmp_path / "marked.tif", *((page, {254: 2}) for page in PAGES)),
        tiff_of(tmp_path / "mixed.tif", (PAGES[0], {}), (PAGES[1].resize((9, 9)), {})),
        tiff_of(tmp_path / "grey.tif", (PAGES[0], {}), (PAGES[1].convert("L"), {})),
    ]
    for path in paths:
        with pytest.raises(BadImageError, match=r"it holds \d pictures; save each") as caught:
            read(path, "bottle")
        assert str(path) in str(caught.value)


def test_a_picture_with_previews_is_one_picture(tmp_path: Path) -> None:
    picture, small = PAGES[0], PAGES[0].resize((12, 12))
    paths = [
        tiff_of(tmp_path / "after.tif", (picture, {}), (small, {254: 1}), (small, {254: 1})),
        tiff_of(tmp_path / "before.tif", (small, {254: 1}), (picture, {254: 0})),
        tiff_of(tmp_path / "old.tif", (picture, {}), (small, {255: 2})),
        tiff_of(tmp_path / "mask.tif", (picture, {}), (picture.convert("L"), {254: 4})),
        tmp_path / "apng.png",
    ]
    picture.save(paths[-1], save_all=True, default_image=True, append_images=[PAGES[1]])
    for path in paths:
        np.testing.assert_array_equal(np.asarray(read_image(path, "bottle")), np.asarray(picture))
        assert upright_size(path, "bottle") == picture.size
    picture.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[small])
    assert read_image(tmp_path / "x.jpg", "bottle").size == picture.size


def test_two_views_in_one_jpeg_are_two_pictures(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    PAGES[0].save(path, "MPO", save_all=True, append_images=PAGES[1:2])
    content = bytearray(path.read_bytes())
    # The second entry's attribute: a view of a stereo pair in place of something undefined.
    place = content.index(b"MPF\0") + 4 + 50 + 16
    content[place : place + 4] = (0x20002).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(BadImageError, match="it holds 2 pictures"):
        read_image(path, "bottle")


# ---- Many pixels -----------------------------------------------------------------------------


def test_a_picture_beyond_pillows_limit_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.png"
    PAGES[0].save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(4) as threads:
            sizes = list(threads.map(lambda _: read_image(path, "bottle").size, range(16)))
        assert sizes == [(48, 48)] * 16
        assert upright_size(path, "bottle") == (48, 48)
        assert read_mask(path, "bottle").shape == (48, 48)
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)


def test_196_megapixels_of_a_line_camera(tmp_path: Path) -> None:
    path = tmp_path / "line.png"
    Image.new("L", (4000, 49_000), 90).save(path, compress_level=1)
    assert read_image(path, "bottle").size == (4000, 49_000)


def test_what_a_header_claims_beyond_the_limit_is_not_decoded(tmp_path: Path) -> None:
    claim(tmp_path / "x.png", 40_000)
    for read in (read_image, read_mask):
        with pytest.raises(BadImageError, match=r"claims 40000x40000 .* max_megapixels is 1000"):
            read(tmp_path / "x.png", "bottle")
    PAGES[0].save(tmp_path / "y.png")
    with pytest.raises(BadImageError, match=r"max_megapixels is 0\.002;"):
        read_image(tmp_path / "y.png", "bottle", ReadingRules(max_megapixels=0.002))
    pixels = PAGES[0].width * PAGES[0].height
    read_image(tmp_path / "y.png", "bottle", ReadingRules(max_megapixels=pixels / 1e6))


def test_the_limit_of_a_set_holds_in_workers(folder_root: Path) -> None:
    for workers in (0, 2):
        data = Folder(
            folder_root,
            max_megapixels=0.002,
            on_bad_image="skip",
            num_workers=workers,
            batch_size=2,
        )
        data.setup()
        samples = data.select("test")
        skipped = [path for batch in data.loader(samples) for path in batch.skipped]
        assert skipped == [str(sample.image) for sample in samples]


def test_importing_adpt_leaves_pillow_as_it_is() -> None:
    code = "import adpt.data, adpt.inspection; from PIL import Image; print(Image.MAX_IMAGE_PIXELS)"
    run = warm.run(
        [sys.executable, "-c", code], lean=True, capture_output=True, text=True, check=True
    )
    assert int(run.stdout) == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder"])
def test_what_is_no_ordinary_file_is_refused_and_not_waited_for(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        monkeypatch.chdir(tmp_path)  # A socket's path has to be short.
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("a.png")
    said = "a folder" if kind == "folder" else "no ordinary file"
    for read in (read_image, read_mask, upright_size):
        with pytest.raises(BadImageError, match=rf"a\.png.* it is {said}"):
            read(path, "bottle")
    assert depth_in_use(path) is None
    # A list names it, and no listing has looked at it.
    sample = Sample(path, 0, "bottle", "train")
    masked = Sample(tmp_path / "b.png", 1, "bottle", "test", mask=path)
    PAGES[0].save(tmp_path / "b.png")
    for item in map(PlainImages([sample, masked], Geometry(48, None)).__getitem__, range(2)):
        assert isinstance(item, UnreadSample)
        assert f"it is {said}" in item.fault
    (finding,) = examine_sample(sample, ReadingRules(), False).findings
    assert finding.message.startswith("is no ordinary file")
