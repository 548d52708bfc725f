"""`data.masks`: labels without masks, in every layout, and never a defect taken for nothing."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import drawn
from adpt.data import (
    BTAD,
    MPDD,
    AnomalyDataModule,
    Folder,
    Mixed,
    MVTec,
    MVTec3D,
    MVTecAD2,
    MVTecLOCO,
    RealIAD,
    Sample,
    VisA,
)
from adpt.data.examination import examine
from adpt.data.files import images_in, subfolders
from adpt.errors import DataError

SETS = {
    "mvtec": (MVTec, drawn.draw_mvtec),
    "mvtec3d": (MVTec3D, drawn.draw_mvtec3d),
    "btad": (BTAD, drawn.draw_btad),
    "mpdd": (MPDD, drawn.draw_mpdd),
    "mvtec_ad2": (MVTecAD2, drawn.draw_mvtec_ad2),
    "mvtec_loco": (MVTecLOCO, drawn.draw_mvtec_loco),
    "visa": (VisA, drawn.draw_visa),
    "folder": (Folder, drawn.draw_folder),
}


def remove_masks(data: AnomalyDataModule) -> int:
    for mask in (mask for sample in data.samples for mask in sample.masks):
        mask.unlink()
    return sum(sample.mask is not None for sample in data.samples)


def labels(data: AnomalyDataModule) -> dict[Path, tuple[int, str]]:
    return {sample.image: (sample.label, sample.defect) for sample in data.samples}


@pytest.mark.parametrize("name", SETS)
def test_a_set_without_masks_keeps_its_labels(name: str, tmp_path: Path) -> None:
    make, draw = SETS[name]
    root = draw(tmp_path / name)
    whole = make(root)
    whole.setup()
    removed = remove_masks(whole)
    with pytest.raises(DataError, match=r"missing|data\.masks=none"):
        make(root).setup()
    data = make(root, masks="none")
    data.setup()
    assert labels(data) == labels(whole)
    assert sum(sample.unmarked for sample in data.samples) == removed > 0
    assert not any(sample.mask for sample in data.samples)
    assert not examine(data, published=False).faults


def test_real_iads_own_splits_tell_labels_without_masks(realiad_root: Path) -> None:
    options = {"split": "realiad_jsons", "classes": ["audiojack"]}
    whole = RealIAD(realiad_root, **options)
    whole.setup()
    file = whole.split_file("audiojack", "realiad_jsons")
    content = json.loads(file.read_text())
    for entry in content["test"]:
        entry.pop("mask_path")
    file.write_text(json.dumps(content))
    remove_masks(whole)
    data = RealIAD(realiad_root, masks="none", **options)
    data.setup()
    assert labels(data) == labels(whole)
    assert not any(sample.mask for sample in data.samples)
    assert any(sample.unmarked for sample in data.samples)


def test_real_iad_by_its_folders_knows_no_label_without_masks(realiad_root: Path) -> None:
    with pytest.raises(DataError, match=r"data\.split=realiad_jsons"):
        RealIAD(realiad_root, masks="none").setup()


def test_an_index_of_the_set_with_masks_is_not_taken(realiad_root: Path) -> None:
    for masks in ("required", "none", "required"):
        data = RealIAD(realiad_root, split="realiad_jsons", masks=masks)
        data.setup()
        assert any(sample.mask for sample in data.samples) == (masks == "required")


@pytest.mark.parametrize("wrong", ["some", None, True])
def test_other_words_are_refused(folder_root: Path, wrong: object) -> None:
    with pytest.raises(DataError, match=r"data\.masks is 'required' or 'none'"):
        Folder(folder_root, masks=wrong)


class Own(AnomalyDataModule):
    """A set that names masks for some of its defects, and checks nothing itself."""

    layout = "  <product>/<good or bad>/*"
    source = "Drawn."

    def available_classes(self) -> list[str]:
        return [folder.name for folder in subfolders(self.root)]

    def find_samples(self, class_name: str) -> Iterator[Sample]:
        for image in images_in(self.root / class_name / "train" / "good"):
            yield Sample(image, 0, class_name, "train")
        for number, image in enumerate(images_in(self.root / class_name / "test" / "scratch")):
            mask = self.root / class_name / "ground_truth" / "scratch" / f"{image.stem}_mask.png"
            yield Sample(image, 1, class_name, "test", mask=mask if number else None)


def test_a_set_of_ones_own_is_checked_too(folder_root: Path) -> None:
    with pytest.raises(DataError, match=r"1 defective images of class 'bottle'.*masks=none"):
        Own(folder_root).setup()
    found = examine(Own(folder_root))
    assert {finding.kind for finding in found.faults} == {"mask missing"}
    data = Own(folder_root, masks="none")
    data.setup()
    assert not any(sample.mask for sample in data.samples)
    assert not examine(data).faults


# ---- Several sets, and pretraining ----------------------------------------------------------


@pytest.mark.parametrize("where", ["all", "one"])
def test_of_several_sets_all_or_one_have_no_masks(
    visa_root: Path, folder_root: Path, where: str
) -> None:
    own = Folder(folder_root, masks="none" if where == "one" else "required")
    options = {"masks": "none"} if where == "all" else {}
    data = Mixed({"visa": VisA(visa_root), "own": own}, **options)
    data.setup()
    masked = {s.class_name.split("/")[0] for s in data.samples if s.mask}
    assert masked == (set() if where == "all" else {"visa"})
    assert {s.class_name.split("/")[0] for s in data.samples if s.unmarked} == (
        {"visa", "own"} if where == "all" else {"own"}
    )


def test_pretraining_takes_marked_defects_and_normal_images(
    visa_root: Path, folder_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def mixed(**options: float) -> Mixed:
        sets = {"visa": VisA(visa_root), "own": Folder(folder_root, masks="none")}
        return Mixed(sets, image_size=32, **options)

    with pytest.raises(DataError, match="6 defective images have no mask"):
        mixed().setup("fit")
    data = mixed(synthetic_defects=0.5)
    with caplog.at_level(logging.WARNING):
        data.setup("fit")
    assert caplog.text.count("6 defective images have no mask") == 1
    used = data.pretraining_samples()
    assert not any(sample.unmarked for sample in used)
    assert any(sample.label for sample in used)
    assert {s.class_name for s in used} == {s.class_name for s in data.samples}


def test_splits_and_held_out_classes_without_defects_need_no_masks(folder_root: Path) -> None:
    Folder(folder_root, masks="none", pretrain_splits=["train"]).setup("fit")
    data = Folder(folder_root, masks="none", held_out=["key"])
    with pytest.raises(DataError, match="3 defective images have no mask"):
        data.setup("fit")


def test_anomalous_training_images_need_no_masks(folder_root: Path) -> None:
    data = Folder(folder_root, masks="none", noise_ratio=0.2)
    data.setup()
    assert sum(sample.noise for sample in data.samples) == 2
    assert sum(sample.unmarked for sample in data.samples) == 4
