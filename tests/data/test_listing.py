"""Which files of a set are taken, and which mask belongs to which image."""

import json
import os
import shutil
import socket
import unicodedata
from pathlib import Path

import numpy as np
import pytest

import drawn
from adpt.data import BTAD, AnomalyDataModule, Folder, MVTec, MVTec3D, RealIAD, VisA
from adpt.data.files import (
    SYSTEM_FOLDERS,
    folders_by_name,
    images_below,
    is_image,
    matching,
    on_disk,
    walk_files,
)
from adpt.data.foreign_textures import TextureFolder
from adpt.errors import DataError
from adpt.running.whole_files import OUTPUT_MARK, mark_output

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Kratzer ü") for form in ("NFC", "NFD"))
HIDDEN = (
    ".ipynb_checkpoints", ".Trash-1000", "$RECYCLE.BIN", "TheVolumeSettingsFolder", "@sharebin",
    *sorted(SYSTEM_FOLDERS),
)  # fmt: skip


def picture(number: int = 0) -> np.ndarray:
    return drawn.picture("more", number)[0]


def mask(path: Path) -> Path:
    drawn.save(drawn.picture("more", 0, defect=True)[1], path)
    return path


def ready(data: AnomalyDataModule) -> AnomalyDataModule:
    data.setup()
    return data


def found(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in images_below(folder)]


# ---- Files and folders ----------------------------------------------------------------------


def test_the_folders_of_a_set_are_listed_alike_often_for_few_and_many_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings: list[Path] = []

    def counted(folder: Path) -> dict[str, Path]:
        listings.append(folder)
        return folders_by_name(folder)

    monkeypatch.setattr("adpt.data.listed.folders_by_name", counted)
    roots = drawn.draw_mvtec(tmp_path / "few", ["a"]), drawn.draw_mvtec(tmp_path / "many", "abc")
    for root in roots:
        ready(Folder(root))
    assert [listings.count(root) for root in roots] == [1, 1]


def test_a_set_that_is_listed_again_sees_a_class_that_was_renamed(tmp_path: Path) -> None:
    data = ready(Folder(drawn.draw_mvtec(tmp_path / "set", ["a"])))
    (data.root / "a").rename(data.root / "b")
    assert data.choose_classes() == ["b"]
    assert data.class_folder("b") == data.root / "b"
    assert {sample.image.parts[-4] for sample in data.samples_of("b")} == {"b"}


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_folders_and_those_of_systems_are_skipped(name: str, tmp_path: Path) -> None:
    root = drawn.draw_mvtec(tmp_path / "set", defective=1)
    before = ready(Folder(root)).samples
    for place in ("", "bottle", "bottle/train", "bottle/train/good", "bottle/train/good/deep",
                  "bottle/test", "bottle/test/good", "bottle/ground_truth/scratch"):  # fmt: skip
        drawn.save(picture(), root / place / name / "train" / "good" / "000.png")
        drawn.save(picture(), root / place / name / "000.png")
    assert ready(Folder(root)).samples == before


def test_a_marked_folder_among_the_defects_is_none(tmp_path: Path) -> None:
    root = drawn.draw_mvtec(tmp_path / "set", defective=1)
    before = ready(Folder(root)).samples
    drawn.save(picture(), root / "bottle/test/heatmaps/000.png")
    mark_output(root / "bottle/test/heatmaps")
    after = ready(Folder(root))
    assert after.samples == before
    assert sorted(kind.name for kind in after.kinds("bottle")) == ["good", "scratch"]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("a.png", True), ("a.PNG", True), ("a.b.tif", True), ("png", False), (".png", False),
        ("._a.png", False), ("a.txt", False), ("a", False), ("~$a.png", True),
    ],
)  # fmt: skip
def test_what_an_image_file_is_called(name: str, is_one: bool) -> None:
    assert is_image(name) is is_one


def test_a_folder_is_a_folder_and_a_pipe_no_image_whatever_they_are_called(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for place in ("a.png", "dir.png/b.png", "dir.png/in.jpg/c.bmp", "png/d.png"):
        drawn.save(picture(), top / place)
    os.mkfifo(top / "pipe.png")
    (top / "linked.png").symlink_to(top / "pipe.png")
    (top / "folder.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    drawn.save(picture(), tmp_path / "elsewhere.jpg" / "e.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(top / "s.png"))
    assert found(top) == [
        "a.png", "dir.png/b.png", "dir.png/in.jpg/c.bmp", "folder.jpg/e.png", "png/d.png"
    ]  # fmt: skip


def test_a_link_that_leads_nowhere_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    assert found(tmp_path) == ["gone.png", "round.png"]


def test_marked_folders_are_skipped_wherever_they_are_moved(tmp_path: Path) -> None:
    drawn.save(picture(), tmp_path / "a.png")
    drawn.save(picture(), tmp_path / "out" / "deep" / "b.png")
    mark_output(tmp_path / "out")
    assert found(tmp_path) == ["a.png"]
    (tmp_path / "out").rename(tmp_path / "my pictures")
    assert found(tmp_path) == ["a.png"]
    (tmp_path / "my pictures" / OUTPUT_MARK).unlink()
    assert found(tmp_path) == ["a.png", "my pictures/deep/b.png"]


def test_a_set_in_a_folder_of_results_is_refused_by_name(tmp_path: Path) -> None:
    root = drawn.draw_mvtec(tmp_path / "set")
    mark_output(root)
    with pytest.raises(DataError, match=rf"data\.root={root}: adpt wrote .* remove {OUTPUT_MARK}"):
        MVTec(root).setup()


def test_textures_come_from_the_same_files(tmp_path: Path) -> None:
    for place in ("a.png", "in/b.png", "@eaDir/c.png", ".d/e.png", "._f.png"):
        drawn.save(picture(), tmp_path / place)
    os.mkfifo(tmp_path / "g.png")
    assert TextureFolder(tmp_path).files == [tmp_path / "a.png", tmp_path / "in/b.png"]


# ---- Folders within folders -----------------------------------------------------------------


def test_images_in_folders_within_are_read_everywhere(mvtec_root: Path) -> None:
    bottle = mvtec_root / "bottle"
    drawn.save(picture(), bottle / "train/good/monday/early/000.png")
    drawn.save(picture(1), bottle / "train/good/tuesday/000.png")
    drawn.save(picture(2), bottle / "test/good/monday/000.png")
    drawn.save(picture(3), bottle / "test/scratch/monday/000.png")
    of_it = mask(bottle / "ground_truth/scratch/Monday/000_mask.png")
    data = ready(MVTec(mvtec_root, classes="bottle"))
    assert [s.image.relative_to(bottle).as_posix() for s in data.select("train")][-3:] == [
        "train/good/005.png", "train/good/monday/early/000.png", "train/good/tuesday/000.png"
    ]  # fmt: skip
    assert len(data.select("test", 0)) == 4
    (deep,) = (s for s in data.select("test", 1) if s.image.parent.name == "monday")
    assert (deep.mask, deep.defect) == (of_it, "scratch")


def test_a_deep_image_does_not_take_the_mask_of_its_namesake_above(mvtec_root: Path) -> None:
    drawn.save(picture(), mvtec_root / "bottle/test/scratch/monday/000.png")
    with pytest.raises(DataError, match=r"1 defective .*monday/000\.png.*") as told:
        MVTec(mvtec_root).setup()
    assert "of the same name" in str(told.value)


def test_mvtec3d_reads_folders_within_rgb_alone(mvtec3d_root: Path) -> None:
    bagel = mvtec3d_root / "bagel"
    before = len(ready(MVTec3D(mvtec3d_root)).samples)
    drawn.save(picture(), bagel / "train/good/xyz/000.tiff")
    drawn.save(picture(), bagel / "validation/good/rgb/000.png")
    drawn.save(picture(), bagel / "train/good/RGB2/000.png")
    assert len(ready(MVTec3D(mvtec3d_root)).samples) == before
    drawn.save(picture(), bagel / "train/good/rgb/deep/000.png")
    assert len(ready(MVTec3D(mvtec3d_root)).samples) == before + 1


# ---- Case and Unicode form ------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Folder, MVTec])
def test_names_of_folders_are_recognised_whatever_their_case(kind, tmp_path: Path) -> None:
    root = drawn.draw_mvtec(tmp_path / "set")
    plain = [(s.image.name, s.label, s.split) for s in ready(kind(root)).samples]
    bottle = root / "bottle"
    for old, new in (
        ("train/good", "train/GOOD"), ("test/good", "test/Good"), ("train", "Train"),
        ("test", "TEST"), ("ground_truth/scratch", "ground_truth/Scratch"),
        ("ground_truth", "Ground_Truth"),
    ):  # fmt: skip
        (bottle / old).rename(bottle / new)
    data = ready(kind(root))
    assert sorted((s.image.name, s.label, s.split) for s in data.samples) == sorted(plain)
    assert [s.mask.parent.name for s in data.select("test", 1)] == ["Scratch"] * 3


def test_btads_normal_folder_is_recognised_whatever_its_case(btad_root: Path) -> None:
    before = ready(BTAD(btad_root, classes="01"))
    for part in ("train", "test"):
        (btad_root / "01" / part / "ok").rename(btad_root / "01" / part / "OK")
    after = ready(BTAD(btad_root, classes="01"))
    assert [s.label for s in after.select("train")] == [s.label for s in before.select("train")]
    assert len(after.select("test", 0)) == len(before.select("test", 0)) == 3


def test_a_folder_of_normal_images_of_another_name_is_told_what_to_be_called(tmp_path) -> None:
    root = drawn.draw_mvtec(tmp_path / "set")
    (root / "bottle/test/good").rename(root / "bottle/test/fine")
    with pytest.raises(DataError, match="A folder of normal images is called good"):
        Folder(root).setup()


@pytest.mark.parametrize("both", ["train", "train/good", "test", "test/good", "ground_truth"])
def test_two_folders_that_differ_by_case_alone_are_both_named(both: str, mvtec_root: Path) -> None:
    one = mvtec_root / "bottle" / both
    other = one.with_name(one.name.title())
    shutil.copytree(one, other)
    with pytest.raises(DataError) as told:
        MVTec(mvtec_root).setup()
    assert str(one) in str(told.value)
    assert str(other) in str(told.value)


def test_masks_and_classes_match_in_either_unicode_form(tmp_path: Path) -> None:
    root = drawn.draw_mvtec(tmp_path / "set", (DECOMPOSED,))
    top = root / DECOMPOSED
    drawn.save(picture(), top / "test" / COMPOSED / f"{COMPOSED}.PNG")
    of_it = mask(top / "ground_truth" / DECOMPOSED / f"{DECOMPOSED}_Mask.png")
    data = ready(Folder(root, classes=[COMPOSED]))
    assert data.classes == [COMPOSED]
    assert {s.mask for s in data.samples if s.defect == COMPOSED} == {of_it}
    assert ready(Folder(root, classes=DECOMPOSED)).classes == [COMPOSED]
    assert Folder(root, held_out=DECOMPOSED).held_out == (COMPOSED,)


def test_a_class_whose_name_is_no_text_has_a_name_that_can_be_written(tmp_path: Path) -> None:
    root = drawn.draw_mvtec(tmp_path / "set")
    (root / "bottle").rename(root / os.fsdecode(b"k\xe9y\x1b"))
    data = ready(Folder(root))
    assert data.classes == ["k\\udce9y\\x1b"]
    assert ready(Folder(root, classes=data.classes)).samples == data.samples


def test_files_of_a_list_are_found_in_either_form_and_case_of_extension(tmp_path: Path) -> None:
    top = tmp_path / DECOMPOSED
    for name in (f"{DECOMPOSED}.jpg", "b.png", "c.png", "c.PNG"):
        drawn.save(picture(), top / name)
    os.mkfifo(top / "d.png")
    wanted = [tmp_path / COMPOSED / name for name in
              (f"{COMPOSED}.JPG", "b.png", "c.png", "c.Png", "d.png", "B.png")]  # fmt: skip
    assert on_disk(wanted) == {
        wanted[0]: top / f"{DECOMPOSED}.jpg",
        wanted[1]: top / "b.png",
        wanted[2]: top / "c.png",
    }


def test_visas_list_may_write_names_otherwise_than_the_disk(visa_root: Path) -> None:
    folder = visa_root / "candle/Data/Images/Normal"
    (folder / "0000.JPG").rename(folder / f"{DECOMPOSED}.jpg")
    table = visa_root / "split_csv/1cls.csv"
    written = table.read_text().replace("Normal/0000.JPG", f"Normal/{COMPOSED}.JPG", 1)
    assert COMPOSED in written
    table.write_text(written)
    data = ready(VisA(visa_root, classes="candle"))
    assert folder / f"{DECOMPOSED}.jpg" in [s.image for s in data.samples]
    assert len(data.read(data.select("train")).path) == 6


def test_an_image_that_a_list_names_twice_counts_once(visa_root: Path) -> None:
    before = ready(VisA(visa_root, classes="candle")).samples
    table = visa_root / "split_csv/1cls.csv"
    lines = table.read_text().splitlines()
    again = lines[-1].replace("candle/", "./candle/").replace(".JPG", ".jpg")
    table.write_text("\n".join([*lines, lines[1], again]))
    assert ready(VisA(visa_root, classes="candle")).samples == before


def test_realiads_list_may_write_names_otherwise_than_the_disk(realiad_root: Path) -> None:
    file = realiad_root / "realiad_jsons/realiad_jsons/zipper.json"
    content = json.loads(file.read_text())
    entry = next(e for e in content["test"] if e["mask_path"])
    path = realiad_root / "realiad_512" / content["meta"]["prefix"] / entry["mask_path"]
    path.rename(path.with_suffix(".PNG"))
    data = ready(RealIAD(realiad_root, classes="zipper", split="realiad_jsons"))
    assert path.with_suffix(".PNG") in [s.mask for s in data.samples]


# ---- Which mask is whose --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["000.png", "000.jpg"], ["000_mask.png"]),
        (["000.png", "000.jpg"], ["000.png"]),
        (["000.png", "000.PNG"], ["000_mask.png"]),
        (["000.png", "000_mask.png"], ["000_mask.png"]),
        (["ü.png", "u\u0308.png"], ["ü.png"]),
        (["in/000.png", "in/000.bmp"], ["in/000_mask.png"]),
        (["000.png"], ["000_mask.png", "000_mask.bmp"]),
        (["000.png"], ["000.png", "000.bmp"]),
        (["000.png"], ["000_mask.png", "000_MASK.png"]),
    ],
)
def test_what_belongs_together_must_be_plain(images, masks, tmp_path: Path) -> None:
    root = drawn.draw_mvtec(tmp_path / "set", defective=0)
    for name in images:
        drawn.save(picture(), root / "bottle/test/scratch" / name)
    for name in masks:
        mask(root / "bottle/ground_truth/scratch" / name)
    several = images if len(images) > 1 else masks
    with pytest.raises(DataError) as told:
        Folder(root).setup()
    assert all(name in str(told.value) for name in several)


def test_what_is_plain_is_no_mistake(tmp_path: Path) -> None:
    root = drawn.draw_mvtec(tmp_path / "set", defective=0)
    bottle = root / "bottle"
    for name in ("train/good/000.jpg", "test/good/000.bmp", "test/scratch/000.png",
                 "test/scratch/000_mask.png", "test/dent/000.jpg"):  # fmt: skip
        drawn.save(picture(), bottle / name)
    for name in ("scratch/000_mask.png", "scratch/000_mask_mask.png", "dent/000.png",
                 "dent/000_mask.png"):  # fmt: skip
        mask(bottle / "ground_truth" / name)
    data = ready(Folder(root))
    assert {s.image.relative_to(bottle / "test").as_posix(): s.mask.name
            for s in data.select("test", 1)} == {
        "dent/000.jpg": "000_mask.png", "scratch/000.png": "000_mask.png",
        "scratch/000_mask.png": "000_mask_mask.png",
    }  # fmt: skip
    assert len(data.select("train")) == 7


def test_realiads_images_that_have_one_mask_between_them_are_named(realiad_root: Path) -> None:
    image = next((realiad_root / "realiad_512/zipper/NG").glob("*/*/*_C1_*.jpg"))
    shutil.copy(image, image.with_suffix(".jpeg"))
    with pytest.raises(DataError, match=r"\.jpe?g and .*\.jpe?g both fit one mask"):
        RealIAD(realiad_root, classes="zipper").setup()


def test_realiads_masks_may_end_in_capitals(realiad_root: Path) -> None:
    before = ready(RealIAD(realiad_root, classes="zipper"))
    path = before.select("test", 1)[0].mask
    path.rename(path.with_suffix(".PNG"))
    after = ready(RealIAD(realiad_root, classes="zipper"))
    assert [s.label for s in after.samples] == [s.label for s in before.samples]


# ---- Patterns -------------------------------------------------------------------------------

PLACES = (
    "photos/png/a.png", "photos/png/b.jpg", "photos/jpg/c.png", "photos/d.png", "photos/k[1]/e.png",
    "photos/k1/f.png", "photos/.hidden/g.png", "photos/@eaDir/h.png", "photos/out/i.png",
    "photos/png/deep/j.png", "photos/x.png/k.png", "photos/l[2].png",
)  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("photos/png/*.png", "a"),
        ("photos/*/*.png", "acefk"),
        ("photos/**/*.png", "acdefjkl"),
        ("photos/**", "abcdefjkl"),
        ("photos/*", "dl"),
        ("photos/?[np]g/*.png", "ac"),
        ("photos/k[1]/*.png", "e"),
        ("photos/k[[]1]/*.png", "e"),
        ("photos/k[1-9]/*.png", "f"),
        ("photos/k[1]*/*.png", "ef"),
        ("photos/[l]*.png", "l"),
        ("photos/l[2].png", "l"),
        ("photos/*/a.png", "a"),
        ("photos/.hidden/*.png", "g"),
        ("photos/out/*.png", ""),
        ("photos/out/i.png", ""),
        ("photos/png/../jpg/*.png", "c"),
    ],
)
def test_a_pattern_names_images(pattern: str, names: str, tmp_path: Path, monkeypatch) -> None:
    for place in PLACES:
        drawn.save(picture(), tmp_path / place)
    mark_output(tmp_path / "photos" / "out")
    monkeypatch.chdir(tmp_path)
    for start in (Path(), tmp_path):
        assert "".join(sorted(path.name[0] for path in matching(start / pattern))) == names


def test_a_pattern_matches_in_either_unicode_form(tmp_path: Path) -> None:
    drawn.save(picture(), tmp_path / DECOMPOSED / f"{DECOMPOSED}.png")
    assert len(matching(tmp_path / COMPOSED / "*ü.png")) == 1


def test_a_walk_in_a_circle_ends(tmp_path: Path) -> None:
    drawn.save(picture(), tmp_path / "in" / "a.png")
    (tmp_path / "in" / "round.png").symlink_to(tmp_path)
    assert found(tmp_path) == ["in/a.png"]
    assert len(matching(tmp_path / "**" / "*.png")) == 1
    assert len(list(walk_files(tmp_path))) == 2


def test_a_folder_that_is_linked_twice_is_walked_once(tmp_path: Path) -> None:
    drawn.save(picture(), tmp_path / "in" / "a.png")
    (tmp_path / "other").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "b").symlink_to(tmp_path / "third")
    (tmp_path / "third").mkdir()
    (tmp_path / "third" / "back").symlink_to(tmp_path / "in")
    assert found(tmp_path) == ["in/a.png"]


def test_a_link_to_a_folder_above_brings_nothing_in(tmp_path: Path) -> None:
    for place in ("above.png", "in/a.png"):
        drawn.save(picture(), tmp_path / place)
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    assert found(tmp_path / "in") == ["a.png"]
    assert matching(tmp_path / "in" / "*" / "*.png") == []
