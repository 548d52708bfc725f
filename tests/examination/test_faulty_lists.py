"""Faults in sets that are split by lists or read by the names of their files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import drawn
from adpt.data import RealIAD, VisA
from adpt.errors import DataError
from faults import distinct_views, found, grey

LIST = "split_csv/1cls.csv"
NORMAL, ANOMALY = "candle/Data/Images/Normal", "candle/Data/Images/Anomaly"


def add_row(root: Path, row: str) -> None:
    with (root / LIST).open("a") as lines:
        lines.write(f"{row}\n")


IN_VISA: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "path upwards": (
        lambda r: add_row(r, "candle,test,normal,../../etc/x.JPG,"), "path outside the set", LIST
    ),
    "path from the top": (
        lambda r: add_row(r, "candle,test,normal,/etc/x.JPG,"), "path outside the set", LIST
    ),
    "mask upwards": (
        lambda r: add_row(r, f"candle,test,anomaly,{ANOMALY}/000.JPG,../x.png"),
        "path outside the set",
        LIST,
    ),
    "unknown label": (lambda r: add_row(r, "candle,test,odd,x.JPG,"), "list", LIST),
    "row of another object": (lambda r: add_row(r, "chair,test,odd,x.JPG,"), "list", LIST),
    "short row": (lambda r: add_row(r, "candle,test"), "list", LIST),
    "listed image is gone": (
        lambda r: (r / NORMAL / "0003.JPG").unlink(), "missing file", f"{NORMAL}/0003.JPG"
    ),
    "anomaly without mask": (
        lambda r: (r / LIST).write_text(
            (r / LIST).read_text().replace("candle/Data/Masks/Anomaly/001.png", "")
        ),
        "mask missing",
        f"{ANOMALY}/001.JPG",
    ),
    "mask of no image": (
        lambda r: shutil.copy(
            r / "candle/Data/Masks/Anomaly/001.png", r / "candle/Data/Masks/Anomaly/009.png"
        ),
        "mask without image",
        "candle/Data/Masks/Anomaly/009.png",
    ),
    "mask of many greys": (
        lambda r: grey(r / "candle/Data/Masks/Anomaly/001.png", *range(1, 30)),
        "mask not binary",
        "candle/Data/Masks/Anomaly/001.png",
    ),
    "image in both parts": (
        lambda r: add_row(r, f"candle,test,normal,{NORMAL}/0000.JPG,"),
        "same picture in training and test",
        f"{NORMAL}/0000.JPG",
    ),
    "unlisted image": (
        lambda r: drawn.save(drawn.picture("new", 0)[0], r / NORMAL / "0099.JPG"),
        "unused",
        f"{NORMAL}/0099.JPG",
    ),
    "empty folder": (
        lambda r: (r / "candle/Data/Images/Other").mkdir(),
        "folder without images",
        "candle/Data/Images/Other",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", IN_VISA)
def test_a_fault_planted_in_visa_is_found_and_nothing_else(fault: str, visa_root: Path) -> None:
    plant, kind, place = IN_VISA[fault]
    plant(visa_root)
    assert found(VisA(visa_root, classes=["candle"])) == {(kind, place)}


def test_numbers_of_defects_in_visas_masks_are_no_fault(visa_root: Path) -> None:
    grey(visa_root / "candle/Data/Masks/Anomaly/001.png", 1, 2, 7)
    assert found(VisA(visa_root)) == set()


@pytest.mark.parametrize("content", [b"object,label\n", b"\xff\xfe\x00\x00"])
def test_a_list_that_is_none_is_found(visa_root: Path, content: bytes) -> None:
    (visa_root / LIST).write_bytes(content)
    listed = {finding for finding in found(VisA(visa_root)) if finding[0] != "unused"}
    assert listed == {("list", LIST)}


# ---- Real-IAD -------------------------------------------------------------------------------


def test_faults_in_realiads_tree(realiad_root: Path) -> None:
    root = distinct_views(realiad_root)
    folder = root / "realiad_512/zipper"
    image = next(folder.glob("OK/S0001/*_C2_*"))
    image.rename(image.parent / "zipper_copy.jpg")
    defect = next(folder.glob("NG/QS/S0002/*_C1_*.png"))
    defect.with_suffix(".jpg").unlink()
    (folder / "NG/AK/S0009").mkdir(parents=True)
    (folder / "NG/QS/round").symlink_to("..")
    (folder / "NG/QS/top").symlink_to("/")
    assert found(RealIAD(root, classes=["audiojack", "zipper"])) == {
        ("name", "realiad_512/zipper/OK/S0001/zipper_copy.jpg"),
        ("mask without image", str(defect.relative_to(root))),
        ("folder without images", "realiad_512/zipper/NG/AK/S0009"),
        ("link loop", "realiad_512/zipper/NG/QS/round"),
        ("link loop", "realiad_512/zipper/NG/QS/top"),
    }


def test_a_product_that_lacks_a_view_is_found(realiad_root: Path) -> None:
    root = distinct_views(realiad_root)
    data = RealIAD(root, classes=["zipper"])
    assert found(data, published=True) == set()
    next((root / "realiad_512/zipper/OK/S0002").glob("*_C4_*")).unlink()
    assert found(data, published=True) == {
        ("views", "realiad_512/zipper/OK/S0002"),
        *(("missing file", f"realiad_jsons/{name}/zipper.json") for name in SPLITS),
    }
    # Cut down on purpose.
    assert found(data, published=False) == set()


SPLITS = ("realiad_jsons", "realiad_jsons_fuiad_0.1")


def edited(root: Path, change: Callable[[dict], object]) -> None:
    path = root / "realiad_jsons/realiad_jsons/zipper.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


IN_JSON: dict[str, tuple[Callable[[dict], object], str]] = {
    "image upwards": (
        lambda c: c["test"][0].update(image_path="../../x_C1_.jpg"), "path outside the set"
    ),
    "mask upwards": (
        lambda c: c["test"][-5].update(mask_path="/etc/x.png"), "path outside the set"
    ),
    "prefix upwards": (lambda c: c["meta"].update(prefix="../"), "path outside the set"),
    "mask without defect": (lambda c: c["test"][-5].update(anomaly_class="OK"), "list"),
    "entry without image": (lambda c: c["train"][0].pop("image_path"), "list"),
    "entry that is text": (lambda c: c["train"].__setitem__(0, "text"), "list"),
    "no meta": (lambda c: c.pop("meta"), "list"),
}  # fmt: skip


@pytest.mark.parametrize("fault", IN_JSON)
def test_faults_in_realiads_lists(fault: str, realiad_root: Path) -> None:
    root = distinct_views(realiad_root)
    change, kind = IN_JSON[fault]
    edited(root, change)
    with pytest.raises(DataError):
        RealIAD(root, classes=["zipper"], split="realiad_jsons").setup()
    for split in ("realiad_jsons", None):
        assert found(RealIAD(root, classes=["zipper"], split=split)) == {
            (kind, "realiad_jsons/realiad_jsons/zipper.json")
        }
    # Of a class that is not examined, or unpacked without the archive's folder.
    assert found(RealIAD(root, classes=["audiojack"])) == set()
    (root / "realiad_jsons").rename(root / "unpacked")
    (root / "unpacked/realiad_jsons").rename(root / "realiad_jsons_sv")
    assert found(RealIAD(root, classes=["zipper"])) == {(kind, "realiad_jsons_sv/zipper.json")}


def test_a_list_that_is_damaged_is_found_without_being_in_use(realiad_root: Path) -> None:
    root = distinct_views(realiad_root)
    (root / "realiad_jsons/realiad_jsons/zipper.json").write_text('{"meta": ')
    assert found(RealIAD(root, classes=["zipper"])) == {
        ("list", "realiad_jsons/realiad_jsons/zipper.json")
    }


def test_a_listed_file_and_a_list_that_are_gone(realiad_root: Path) -> None:
    root = distinct_views(realiad_root)
    gone = next((root / "realiad_512/zipper/OK/S0002").iterdir())
    gone.unlink()
    (root / "realiad_jsons/realiad_jsons/audiojack.json").unlink()
    assert found(RealIAD(root, split="realiad_jsons")) == {
        ("missing file", str(gone.relative_to(root))),
        ("list", "."),
    }
