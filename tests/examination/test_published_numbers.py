"""Numbers that differ from the published ones are found."""

import shutil
from pathlib import Path

import pytest

from adpt.data import (
    BTAD,
    MPDD,
    Folder,
    KolektorSDD2,
    MVTec,
    MVTec3D,
    MVTecAD2,
    MVTecLOCO,
    VisA,
)
from adpt.data.examination import examine
from adpt.data.examination.numbers import NUMBERS, REALIAD_ANOMALOUS, REALIAD_NORMAL
from faults import found


@pytest.mark.parametrize(
    ("kind", "train", "test"),
    [(MVTec, 3629, 1725), (VisA, 8659, 2162), (BTAD, 1799, 741), (MVTec3D, 2656, 1197),
     (MPDD, 888, 458), (MVTecAD2, 2528, 1084), (MVTecLOCO, 1778, 1568), (KolektorSDD2, 2085, 1004)],
)  # fmt: skip
def test_published_numbers_add_up_to_the_papers_totals(kind, train: int, test: int) -> None:
    assert tuple(NUMBERS[kind]) == kind.known_classes
    assert sum(numbers[0] for numbers in NUMBERS[kind].values()) == train
    assert sum(sum(numbers[1:3]) for numbers in NUMBERS[kind].values()) == test


def test_ad2s_private_parts_have_numbers_of_their_own(mvtec_ad2_root: Path) -> None:
    data = MVTecAD2(mvtec_ad2_root, classes=["can"], split="private")
    findings = examine(data, workers=2).findings
    assert [f.message.partition(":")[0] for f in findings] == [
        "has 3 normal validation images, and 46 are published",
        "has 6 normal test images, and 642 are published",
        "has 6 normal train images, and 412 are published",
    ]


def test_numbers_of_kolektorsdd2_are_told_of_the_folder_that_has_them(
    kolektorsdd2_root: Path,
) -> None:
    findings = examine(KolektorSDD2(kolektorsdd2_root), workers=2).findings
    assert [(f.path.name, f.message.partition(",")[0]) for f in findings] == [
        ("test", "has 3 anomalous test images"),
        ("test", "has 3 normal test images"),
        ("train", "has 6 normal train images"),
    ]


def test_realiads_total_is_five_views_a_product() -> None:
    assert (REALIAD_NORMAL + REALIAD_ANOMALOUS) % 5 == 0


def test_other_numbers_than_published_are_found(mvtec_root: Path, monkeypatch) -> None:
    monkeypatch.setitem(NUMBERS, MVTec, {"bottle": (6, 3, 3), "cable": (6, 3, 3)})
    monkeypatch.setattr(MVTec, "known_classes", ("bottle", "cable"))
    assert found(MVTec(mvtec_root), published=True) == set()
    (mvtec_root / "bottle/test/good/001.png").unlink()
    shutil.rmtree(mvtec_root / "cable")
    assert found(MVTec(mvtec_root), published=True) == {("count", "bottle"), ("class missing", ".")}
    assert found(MVTec(mvtec_root, classes=["bottle"]), published=True) == {("count", "bottle")}
    assert found(MVTec(mvtec_root)) == set()


def test_own_products_have_no_published_numbers(folder_root: Path) -> None:
    assert found(Folder(folder_root), published=True) == set()
