"""What a set's folder holds and is left out is named, and what fits two images is a fault."""

import shutil
from pathlib import Path

import pytest

import drawn
from adpt.data import Folder, MVTec, MVTec3D, RealIAD, VisA
from adpt.data.examination import examine
from adpt.running.whole_files import mark_output
from faults import distinct_views, found


def more(path: Path, number: int = 0) -> Path:
    drawn.save(drawn.picture(f"more {path}", number)[0], path)
    return path


def remarks(data) -> dict[tuple[str, str], str]:
    examination = examine(data, workers=2, published=False)
    assert examination.faults == []
    return {
        (f.kind, f.path.relative_to(data.root).as_posix()): f.message for f in examination.findings
    }


def test_images_in_folders_within_are_examined_and_no_remark(folder_root: Path) -> None:
    more(folder_root / "key/train/good/monday/000.png")
    more(folder_root / "key/test/good/monday/000.png")
    more(folder_root / "key/Test2/000.txt.png").rename(folder_root / "key/notes.txt")
    more(folder_root / "key/test/scratch/a/000.png")
    drawn.save(drawn.picture("a", 0, defect=True)[1],
               folder_root / "key/ground_truth/scratch/a/000_mask.png")  # fmt: skip
    examination = examine(Folder(folder_root), workers=2)
    assert examination.findings == []
    assert (examination.images, examination.masks) == (27, 7)


def test_what_lies_in_no_place_of_the_layout_is_named(folder_root: Path) -> None:
    key = folder_root / "key"
    for place in ("000.png", "train/000.png", "train/001.png", "val/good/000.png", "test/x.png",
                  "train/dent/000.png", "train/dent/in/000.png"):  # fmt: skip
        more(key / place)
    told = remarks(Folder(folder_root))
    places = ("key", "key/train", "key/val/good", "key/test", "key/train/dent")
    assert set(told) == {("unused", place) for place in places}
    assert "2 images (the first: 000.png)" in told["unused", "key/train"]
    assert "1 image (x.png)" in told["unused", "key/test"]


def test_what_is_hidden_or_not_read_is_named(folder_root: Path) -> None:
    good = folder_root / "key/train/good"
    more(good / ".ipynb_checkpoints/000-checkpoint.png")
    more(folder_root / "key/@eaDir/000.png/SYNO_THUMB.jpg")
    more(folder_root / "__MACOSX/key/train/good/000.png")
    more(folder_root / "out/heatmaps/000.png")
    mark_output(folder_root / "out")
    more(folder_root / "spare/000.png")
    (folder_root / ".git").mkdir()
    (good / "._000.png").touch()
    (good / "a.heic").touch()
    (good / "b.GIF").touch()
    (good / "Thumbs.db").touch()
    told = remarks(Folder(folder_root))
    assert set(told) == {
        ("left out", "key/train/good/.ipynb_checkpoints"),
        ("left out", "key/@eaDir"),
        ("left out", "key/train/good"),
        ("left out", "__MACOSX"),
        ("left out", "out"),
        ("unused", "spare"),
    }
    assert "adpt wrote it" in told["left out", "out"]
    messages = [f.message for f in examine(Folder(folder_root), published=False).findings]
    assert any("gif: 1, heic: 1" in message for message in messages)
    assert any("1 hidden file (._000.png)" in message for message in messages)
    assert {place for _, place in remarks(Folder(folder_root, classes=["bottle"]))} == set()


def test_published_folders_that_are_not_used_are_no_remark(mvtec3d_root: Path) -> None:
    shutil.copytree(mvtec3d_root / "bagel/train", mvtec3d_root / "bagel/validation")
    for place in ("train/good/xyz/000.tiff", "validation/good/xyz/000.tiff"):
        more(mvtec3d_root / "bagel" / place)
    assert found(MVTec3D(mvtec3d_root)) == set()
    more(mvtec3d_root / "bagel/train/good/000.png")
    assert found(MVTec3D(mvtec3d_root)) == {("unused", "bagel/train/good")}


def test_hidden_folders_of_sets_with_lists_are_named(visa_root: Path, realiad_root: Path) -> None:
    more(visa_root / "candle/Data/Images/Normal/.thumbs/0000.JPG")
    assert found(VisA(visa_root)) == {("left out", "candle/Data/Images/Normal/.thumbs")}
    root = distinct_views(realiad_root)
    more(root / "realiad_512/zipper/OK/S0001/@eaDir/a.jpg")
    assert found(RealIAD(root)) == {("left out", "realiad_512/zipper/OK/S0001/@eaDir")}


@pytest.mark.parametrize("name", ["001.jpg", "001.PNG", "001_mask.png"])
def test_a_mask_of_two_images_is_a_fault_that_names_both(name: str, mvtec_root: Path) -> None:
    folder = mvtec_root / "bottle/test/scratch"
    more(folder / name)
    (finding,) = examine(MVTec(mvtec_root), published=False).faults
    assert finding.kind == "ambiguous mask"
    told = f"{finding.path} {finding.message}"
    assert str(folder / name) in told
    assert str(folder / "001.png") in told
    assert "001_mask.png" in finding.message


def test_two_masks_of_an_image_are_a_fault(mvtec_root: Path) -> None:
    masks = mvtec_root / "bottle/ground_truth/scratch"
    shutil.copy(masks / "001_mask.png", masks / "001_mask.bmp")
    assert found(MVTec(mvtec_root)) == {("ambiguous mask", "bottle/test/scratch/001.png")}


def test_a_mask_of_two_views_in_realiad_is_a_fault(realiad_root: Path) -> None:
    root = distinct_views(realiad_root)
    image = next((root / "realiad_512/zipper/NG").glob("*/*/*_C1_*.jpg"))
    more(image.with_suffix(".jpeg"))
    assert ("ambiguous mask", image.relative_to(root).as_posix()) in found(RealIAD(root))


def test_folders_that_differ_by_case_alone_are_told(mvtec_root: Path) -> None:
    shutil.copytree(mvtec_root / "bottle/test/good", mvtec_root / "bottle/test/Good")
    (finding,) = examine(MVTec(mvtec_root), published=False).faults
    assert (finding.kind, finding.class_name) == ("listing", "bottle")
    assert "test/Good" in finding.message
    assert "test/good" in finding.message


def test_case_and_folders_named_like_images_are_no_fault(mvtec_root: Path) -> None:
    bottle = mvtec_root / "bottle"
    (bottle / "train/good").rename(bottle / "train/Good")
    (bottle / "test").rename(bottle / "Test")
    (bottle / "ground_truth/scratch").rename(bottle / "ground_truth/SCRATCH")
    (bottle / "train/Good/in.png").mkdir()
    more(bottle / "train/Good/in.png/000.png")
    assert found(MVTec(mvtec_root)) == set()
