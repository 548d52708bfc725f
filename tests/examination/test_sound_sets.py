"""A sound set of any layout has no fault, and all its files are read."""

from pathlib import Path

import pytest

from adpt.data import (
    BTAD,
    DAGM,
    MPDD,
    AnomalyDataModule,
    Folder,
    KolektorSDD2,
    Mixed,
    MVTec,
    MVTec3D,
    MVTecAD2,
    MVTecLOCO,
    RealIAD,
    VisA,
)
from adpt.data.examination import examine
from faults import distinct_views, found

KINDS: dict[str, type[AnomalyDataModule]] = {
    "mvtec": MVTec, "folder": Folder, "visa": VisA, "btad": BTAD, "mvtec3d": MVTec3D,
    "mpdd": MPDD, "realiad": RealIAD, "mvtec_ad2": MVTecAD2, "mvtec_loco": MVTecLOCO,
    "kolektorsdd2": KolektorSDD2, "dagm": DAGM,
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_sound_set_has_no_fault_and_all_its_files_are_read(
    name: str, request: pytest.FixtureRequest
) -> None:
    root = distinct_views(request.getfixturevalue(f"{name}_root"))
    data = KINDS[name](root)
    examination = examine(data, workers=2, published=False)
    assert examination.findings == []
    data.setup()
    assert examination.classes == len(data.classes)
    assert examination.images == len(data.samples)
    assert examination.masks == sum(len(sample.masks) for sample in data.select("test", 1))


@pytest.mark.parametrize("split", ["realiad_jsons", "realiad_jsons_fuiad_0.1"])
def test_a_sound_split_of_realiad(split: str, realiad_root: Path) -> None:
    assert found(RealIAD(distinct_views(realiad_root), split=split)) == set()


def test_the_few_shot_list_of_visa_is_sound(visa_root: Path) -> None:
    assert found(VisA(visa_root, split="2cls_fewshot")) == set()


def test_mixed_sets_are_examined_each_with_its_name(mvtec_root: Path, realiad_root: Path) -> None:
    sets = {"a": MVTec(mvtec_root), "b": RealIAD(distinct_views(realiad_root))}
    broken = sets["a"].root / "bottle/train/good/002.png"
    broken.write_bytes(b"")
    findings = examine(Mixed(sets), workers=2, published=False).findings
    assert [(f.kind, f.path, f.class_name) for f in findings] == [
        ("empty file", broken, "a/bottle")
    ]
