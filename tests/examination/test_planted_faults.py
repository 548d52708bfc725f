"""Each fault planted in a drawn tree is found, with its path, and nothing else."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import drawn
from adpt.data import Folder, MVTec, VisA
from adpt.data.examination import examine
from adpt.errors import DataError
from faults import MASK, TEST, TRAIN, claim, cut, found, grey, link, replaced

# What is done to the class bottle, the kind and the place that it is found under.
PLANTED: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "cut image": (lambda c: cut(c / TRAIN / "001.png"), "truncated", f"{TRAIN}/001.png"),
    "cut test image": (lambda c: cut(c / TEST / "001.png"), "truncated", f"{TEST}/001.png"),
    "cut mask": (lambda c: cut(c / MASK), "truncated", MASK),
    "empty file": (lambda c: cut(c / TRAIN / "001.png", 0), "empty file", f"{TRAIN}/001.png"),
    "mask of no byte": (lambda c: cut(c / MASK, 0), "empty file", MASK),
    "text": (
        lambda c: (c / TRAIN / "001.png").write_text("<html>404</html>"),
        "unreadable",
        f"{TRAIN}/001.png",
    ),
    "floating point": (
        lambda c: replaced(c / TRAIN / "001.png", np.ones((48, 48), np.float32), "001.tif"),
        "wrong mode",
        f"{TRAIN}/001.tif",
    ),
    "32 bits": (
        lambda c: replaced(c / TRAIN / "001.png", np.full((48, 48), 70000, np.int32), "001.tif"),
        "wrong mode",
        f"{TRAIN}/001.tif",
    ),
    "claims more than is taken": (
        lambda c: claim(c / TRAIN / "001.png", 50_000),
        "enormous image",
        f"{TRAIN}/001.png",
    ),
    "enormous mask": (lambda c: claim(c / MASK, 50_000), "enormous image", MASK),
    "no mask": (lambda c: (c / MASK).unlink(), "mask missing", f"{TEST}/001.png"),
    "mask of zeros": (lambda c: grey(c / MASK), "empty mask", MASK),
    "mask of greys": (lambda c: grey(c / MASK, 3, 255), "mask not binary", MASK),
    "smaller mask": (
        lambda c: Image.fromarray(np.eye(40, dtype=np.uint8)).save(c / MASK),
        "mask size",
        MASK,
    ),
    "narrower mask": (
        lambda c: Image.fromarray(np.eye(48, 40, dtype=np.uint8)).save(c / MASK),
        "mask size",
        MASK,
    ),
    "no image": (lambda c: (c / TEST / "001.png").unlink(), "mask without image", MASK),
    "masks of no folder": (
        lambda c: drawn.save(np.eye(48, dtype=np.uint8), c / "ground_truth/dent/000_mask.png"),
        "mask without image",
        "ground_truth/dent/000_mask.png",
    ),
    "defect without images": (
        lambda c: (c / "test/dent").mkdir(),
        "folder without images",
        "test/dent",
    ),
    "no training image": (lambda c: shutil.rmtree(c / TRAIN), "no normal images", "."),
    "copy in test": (
        lambda c: shutil.copy(c / TRAIN / "001.png", c / "test/good/009.png"),
        "same picture in training and test",
        "test/good/009.png",
    ),
    "copy of another format in test": (
        lambda c: Image.open(c / TRAIN / "001.png").save(c / "test/good/009.bmp"),
        "same picture in training and test",
        "test/good/009.bmp",
    ),
    "link in a circle": (lambda c: link(c / "test/round", ".."), "link loop", "test/round"),
    "link to the set": (lambda c: link(c / "more", ".."), "link loop", "more"),
    "link to the top": (lambda c: link(c / "test/more", "/"), "link loop", "test/more"),
    "link to itself": (lambda c: link(c / "test/round", "round"), "link loop", "test/round"),
    "image that links to itself": (
        lambda c: link(c / TRAIN / "001.png", "001.png"),
        "link loop",
        f"{TRAIN}/001.png",
    ),
    "link to nothing": (lambda c: link(c / "test/gone", "none"), "broken link", "test/gone"),
    "image that links to nothing": (
        lambda c: link(c / TRAIN / "001.png", "none.png"),
        "missing file",
        f"{TRAIN}/001.png",
    ),
    "pipe": (lambda c: os.mkfifo(c / TRAIN / "009.png"), "unreadable", f"{TRAIN}/009.png"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found_and_nothing_else(fault: str, mvtec_root: Path) -> None:
    plant, kind, place = PLANTED[fault]
    plant(mvtec_root / "bottle")
    examination = examine(MVTec(mvtec_root), workers=2, published=False)
    path = mvtec_root / "bottle" / place
    assert [(f.kind, f.path, f.class_name) for f in examination.findings] == [
        (kind, path, "bottle")
    ]
    assert len(examination.faults) == 1
    message = examination.findings[0].message
    assert re.search(r"[^.]\.$", message)
    assert "the file" not in message
    # The path goes before.
    assert message.count(str(path)) == 0


def test_faults_of_several_classes_are_all_found(mvtec_root: Path) -> None:
    planted = ("cut image", "empty file", "no mask", "defect without images", "link in a circle")
    # "empty file" comes last for this image: it is what remains of the cut one.
    for fault in planted:
        PLANTED[fault][0](mvtec_root / "bottle")
    for fault in ("mask of zeros", "32 bits", "copy in test"):
        if fault == "copy in test":
            shutil.copy(
                mvtec_root / "cable/train/good/002.png", mvtec_root / "bottle/test/good/009.png"
            )
        else:
            PLANTED[fault][0](mvtec_root / "cable")
    assert found(MVTec(mvtec_root)) == {
        ("empty file", "bottle/train/good/001.png"),
        ("mask missing", "bottle/test/scratch/001.png"),
        ("folder without images", "bottle/test/dent"),
        ("link loop", "bottle/test/round"),
        ("empty mask", "cable/ground_truth/scratch/001_mask.png"),
        ("wrong mode", "cable/train/good/001.tif"),
        ("same picture in training and test", "bottle/test/good/009.png"),
    }


def test_every_mask_that_is_missing_is_found_not_the_first_alone(mvtec_root: Path) -> None:
    shutil.rmtree(mvtec_root / "bottle/ground_truth")
    with pytest.raises(DataError, match="3 defective images"):
        MVTec(mvtec_root).setup()
    assert found(MVTec(mvtec_root)) == {
        ("mask missing", f"bottle/test/scratch/{number:03d}.png") for number in range(3)
    }


def test_what_may_be_is_a_remark(mvtec_root: Path) -> None:
    folder = mvtec_root / "bottle/train/good"
    shutil.copy(folder / "000.png", folder / "009.png")
    Image.open(folder / "001.png").convert("L").save(folder / "001.png")
    Image.open(folder / "002.png").resize((40, 48)).save(folder / "002.png")
    drawn.save(drawn.picture("dented", 0)[0], mvtec_root / "bottle/train/dent/000.png")
    examination = examine(MVTec(mvtec_root), workers=2, published=False)
    assert examination.faults == []
    assert {(f.kind, f.path.name) for f in examination.findings} == {
        ("same picture twice", "009.png"),
        ("unusual mode", "001.png"),
        ("unusual size", "002.png"),
        ("unused", "dent"),
    }


def test_an_image_that_exif_turns_fits_its_mask(mvtec_root: Path) -> None:
    image, mask = mvtec_root / "bottle" / TEST / "001.png", mvtec_root / "bottle" / MASK
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(image).resize((40, 48)).save(image, exif=exif)
    Image.fromarray(np.eye(40, 48, dtype=np.uint8)).save(mask)
    assert found(MVTec(mvtec_root)) == {("unusual size", f"bottle/{TEST}/001.png")}


def test_folders_that_link_to_each_other_are_found(mvtec_root: Path) -> None:
    (mvtec_root / "bottle/more").symlink_to("../cable")
    (mvtec_root / "cable/more").symlink_to("../bottle")
    (kind, path), *others = found(MVTec(mvtec_root))
    assert not others
    assert (kind, path) == ("link loop", "bottle/more/more")


def test_linked_folders_are_read_where_they_end(mvtec_root: Path, tmp_path: Path) -> None:
    shutil.move(mvtec_root / "bottle", tmp_path / "elsewhere")
    (mvtec_root / "bottle").symlink_to(tmp_path / "elsewhere")
    cut(tmp_path / "elsewhere" / TRAIN / "001.png")
    assert found(MVTec(mvtec_root)) == {("truncated", f"bottle/{TRAIN}/001.png")}


def test_the_first_picture_is_told_beside_its_copy(mvtec_root: Path) -> None:
    PLANTED["copy in test"][0](mvtec_root / "bottle")
    (finding,) = examine(MVTec(mvtec_root), published=False).findings
    assert str(mvtec_root / "bottle" / TRAIN / "001.png") in finding.message


@pytest.mark.parametrize("fault", ["no mask", "no training image", "smaller mask"])
def test_what_setup_stops_at_is_found(fault: str, mvtec_root: Path) -> None:
    PLANTED[fault][0](mvtec_root / "bottle")
    with pytest.raises(DataError):
        MVTec(mvtec_root).setup()
    assert examine(MVTec(mvtec_root), published=False).faults


def test_a_set_read_in_its_own_way_is_not_called_sound_where_that_fails(mvtec_root: Path) -> None:
    class Own(MVTec):
        def find_samples(self, class_name):
            raise DataError("The list of lists is gone.")

    data = Own(mvtec_root, classes=["cable"])
    (finding,) = examine(data, published=False).findings
    assert (finding.kind, finding.path) == ("listing", mvtec_root / "cable")
    assert "list of lists" in finding.message


def test_a_folder_that_cannot_be_entered_stops_nothing_else(mvtec_root: Path, monkeypatch) -> None:
    scandir, shut = os.scandir, mvtec_root / "bottle/train/good"

    def refusing(folder):
        if Path(folder) == shut:
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    cut(mvtec_root / "cable" / MASK)
    findings = examine(MVTec(mvtec_root), published=False).findings
    assert [(f.kind, str(f.path.relative_to(mvtec_root))) for f in findings] == [
        ("listing", "bottle"),
        ("truncated", f"cable/{MASK}"),
    ]
    assert str(shut) in findings[0].message


def test_an_empty_folder_among_ones_own_products_is_found(folder_root: Path) -> None:
    (folder_root / "lock").mkdir()
    assert found(Folder(folder_root)) == {("folder without images", "lock")}
    assert found(Folder(folder_root, classes=["key"])) == set()


def test_where_there_is_nothing_to_examine(mvtec_root: Path, visa_root: Path) -> None:
    for data in (
        MVTec(mvtec_root / "none"),
        MVTec(mvtec_root / "bottle"),
        MVTec(mvtec_root, classes=["botle"]),
        VisA(visa_root, classes=["candel"]),
    ):
        with pytest.raises(DataError):
            examine(data)
