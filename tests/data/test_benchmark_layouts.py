"""What MVTec AD 2, MVTec LOCO, KolektorSDD2 and DAGM have that MVTec AD's layout has not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import drawn
from adpt.data import DAGM, AnomalyDataModule, KolektorSDD2, MVTecAD2, MVTecLOCO, RealIAD
from adpt.data.checks import files_of
from adpt.data.examination import examine
from adpt.data.mvtec_loco import Saturation
from adpt.data.sample import UNLABELLED
from adpt.errors import DataError, UserError
from adpt.evaluation.training_set import check_suits
from faults import cut, found

PIXELS = {"image_size": 48, "num_workers": 0}
TWO = "ground_truth/logical_anomalies/000"


def ready(data: AnomalyDataModule) -> AnomalyDataModule:
    data.setup()
    return data


# ---- MVTec AD 2 --------------------------------------------------------------------------------


def test_ad2_is_measured_on_its_public_part_and_validated_on_good_images(
    mvtec_ad2_root: Path,
) -> None:
    data = ready(MVTecAD2(mvtec_ad2_root, classes="can", **PIXELS))
    validation = data.select("validation")
    assert [s.image.parent.relative_to(mvtec_ad2_root) for s in validation] == [
        Path("can/validation/good")
    ] * 3
    assert {s.label for s in validation} == {0}
    assert {s.image.parent.parent.name for s in data.select("test")} == {"test_public"}
    assert {s.split for s in data.pretraining_samples()} == {"train", "test"}


def test_ad2s_private_images_have_no_label_and_are_not_pretrained_on(mvtec_ad2_root: Path) -> None:
    data = MVTecAD2(mvtec_ad2_root, split="private", **PIXELS)
    data.setup("fit")
    tested = data.select("test", class_name="vial")
    assert [f"{s.image.parent.name}/{s.image.name}" for s in tested] == [
        *(f"test_private/{n:03d}_regular.png" for n in range(3)),
        *(f"test_private_mixed/{n:03d}_mixed.png" for n in range(3)),
    ]
    assert {(s.label, s.mask, s.defect) for s in tested} == {(0, None, UNLABELLED)}
    assert {s.split for s in data.pretraining_samples()} == {"train"}
    assert found(data) == set()


def test_methods_are_not_fitted_on_images_whose_label_nobody_tells(
    mvtec_ad2_root: Path, mvtec_loco_root: Path
) -> None:
    private = ready(MVTecAD2(mvtec_ad2_root, split="private", **PIXELS))
    with pytest.raises(UserError, match=r"train_data\.split=public"):
        check_suits(private, ready(MVTecLOCO(mvtec_loco_root, **PIXELS)))


def test_ad2_has_two_splits(mvtec_ad2_root: Path) -> None:
    with pytest.raises(DataError, match=r"data\.split is one of public, private, not 'test'"):
        MVTecAD2(mvtec_ad2_root, split="test")  # type: ignore[arg-type]


def test_faults_of_ad2s_private_parts_are_named(mvtec_ad2_root: Path) -> None:
    part = mvtec_ad2_root / "can/test_private"
    (part / "001_regular.png").rename(part / "001.png")
    for image in (mvtec_ad2_root / "vial/test_private_mixed").iterdir():
        image.unlink()
    assert found(MVTecAD2(mvtec_ad2_root, split="private")) == {
        ("name", "can/test_private/001.png"),
        ("folder without images", "vial/test_private_mixed"),
    }
    with pytest.raises(DataError, match=r"vial/test_private_mixed holds no image"):
        MVTecAD2(mvtec_ad2_root, split="private").setup()


def test_a_validation_image_among_the_test_images_is_a_fault(mvtec_ad2_root: Path) -> None:
    copy = mvtec_ad2_root / "can/test_public/good/009_regular.png"
    copy.write_bytes((mvtec_ad2_root / "can/validation/good/000_regular.png").read_bytes())
    findings = examine(MVTecAD2(mvtec_ad2_root), workers=2, published=False).findings
    assert [(f.kind, f.path) for f in findings] == [("same picture in training and test", copy)]
    assert "is also the validation image" in findings[0].message


@pytest.mark.parametrize("kind", [MVTecAD2, MVTecLOCO])
@pytest.mark.parametrize("empty", [False, True])
def test_a_set_without_its_images_for_validation_is_refused(
    empty: bool, kind: type[AnomalyDataModule], request: pytest.FixtureRequest
) -> None:
    name = "mvtec_ad2" if kind is MVTecAD2 else "mvtec_loco"
    root: Path = request.getfixturevalue(f"{name}_root")
    folder = root / ("can" if kind is MVTecAD2 else "pushpins") / "validation"
    shutil.rmtree(folder / "good" if empty else folder)
    place = str((folder / "good").relative_to(root))
    assert found(kind(root)) == {("folder without images", place)}
    with pytest.raises(DataError, match=rf"{place} holds no image, and thresholds .* unpack it"):
        kind(root).setup()


# ---- MVTec LOCO --------------------------------------------------------------------------------


def test_all_masks_of_a_picture_mark_it(mvtec_loco_root: Path) -> None:
    data = ready(MVTecLOCO(mvtec_loco_root, classes="pushpins", **PIXELS))
    anomalous = data.select("test", 1)
    assert [(s.defect, len(s.masks)) for s in anomalous] == [
        ("logical_anomalies", 2), ("logical_anomalies", 1), ("structural_anomalies", 1),
    ]  # fmt: skip
    files = [np.asarray(Image.open(path)) > 0 for path in anomalous[0].masks]
    assert all(part.any() for part in files)
    np.testing.assert_array_equal(data.read(anomalous).mask[0].numpy(), files[0] | files[1])
    np.testing.assert_array_equal(next(data.read_masks(anomalous)), files[0] | files[1])
    assert len(files_of(anomalous)) == 7


def test_faults_of_a_further_mask_are_named(mvtec_loco_root: Path) -> None:
    second = mvtec_loco_root / "pushpins" / TWO / "001.png"
    Image.open(second).resize((40, 48), Image.Resampling.NEAREST).save(second)
    with pytest.raises(DataError, match=r"000/001\.png is 40x48 .* is 48x48"):
        MVTecLOCO(mvtec_loco_root).setup()
    assert found(MVTecLOCO(mvtec_loco_root)) == {("mask size", f"pushpins/{TWO}/001.png")}
    cut(second)
    assert found(MVTecLOCO(mvtec_loco_root)) == {("truncated", f"pushpins/{TWO}/001.png")}


def test_missing_and_spare_masks_of_loco_are_named(mvtec_loco_root: Path) -> None:
    masks = mvtec_loco_root / "screw_bag/ground_truth/structural_anomalies"
    (masks / "000").rename(masks / "007")
    assert found(MVTecLOCO(mvtec_loco_root)) == {
        ("mask missing", "screw_bag/test/structural_anomalies/000.png"),
        ("mask without image", "screw_bag/ground_truth/structural_anomalies/007/000.png"),
    }
    data = MVTecLOCO(mvtec_loco_root, masks="none")
    data.setup()
    assert {s.masks for s in data.samples} == {()}


def test_saturations_are_as_the_published_list_says(mvtec_loco_root: Path) -> None:
    known = MVTecLOCO(mvtec_loco_root).saturations("pushpins")
    assert known == {255: Saturation(20, False), 254: Saturation(0.5, True)}
    assert [known[255].area(pixels) for pixels in (5, 20, 100)] == [5, 20, 20]
    assert [known[254].area(pixels) for pixels in (1, 5, 100)] == [1, 2, 50]


@pytest.mark.parametrize(
    "content",
    [
        "[",
        "{}",
        json.dumps([{"pixel_value": 255}]),
        json.dumps([
            {"pixel_value": 255, "saturation_threshold": 1.5, "relative_saturation": True}
        ]),
    ],
)  # fmt: skip
def test_a_list_of_defects_that_cannot_be_used_is_a_fault(
    content: str, mvtec_loco_root: Path
) -> None:
    (mvtec_loco_root / "screw_bag/defects_config.json").write_text(content)
    assert found(MVTecLOCO(mvtec_loco_root)) == {("list", "screw_bag/defects_config.json")}


def test_a_value_that_the_list_of_defects_lacks_or_has_twice_is_a_fault(
    mvtec_loco_root: Path,
) -> None:
    folder = mvtec_loco_root / "pushpins"
    mask = folder / "ground_truth/structural_anomalies/000/000.png"
    Image.fromarray(np.asarray(Image.open(mask)).clip(0, 7)).save(mask)
    examination = examine(MVTecLOCO(mvtec_loco_root), workers=2, published=False)
    assert [(f.kind, f.path) for f in examination.findings] == [("mask value", mask)]
    assert str(examination.faults[0]).endswith(
        "000.png has the value 7, which is not in the class's defects_config.json: take both from"
        " the published archive."
    )
    assert found(MVTecLOCO(mvtec_loco_root, masks="none")) == set()
    file = folder / "defects_config.json"
    entries = json.loads(file.read_text())
    file.write_text(json.dumps([*entries, entries[1]]))
    assert found(MVTecLOCO(mvtec_loco_root)) == {("list", "pushpins/defects_config.json")}
    with pytest.raises(DataError, match="pixel_value 254 is there twice"):
        MVTecLOCO(mvtec_loco_root).saturations("pushpins")


# ---- KolektorSDD2 and DAGM ---------------------------------------------------------------------


def test_defective_training_images_are_left_out(kolektorsdd2_root: Path, dagm_root: Path) -> None:
    for data in (KolektorSDD2(kolektorsdd2_root), DAGM(dagm_root)):
        data.setup()
        assert {s.label for s in data.select("train")} == {0}
        assert len(data.select("train")) == 6 * len(data.classes)
        assert found(data) == set()


def test_copies_in_the_published_archive_are_not_used(kolektorsdd2_root: Path) -> None:
    for ending in ("", "_GT"):
        copy = kolektorsdd2_root / "train" / f"10001{ending}.png"
        copy.with_stem(f"10001{ending} (copy)").write_bytes(copy.read_bytes())
    examination = examine(KolektorSDD2(kolektorsdd2_root), workers=2, published=False)
    assert examination.faults == []
    assert {(f.kind, f.path.name) for f in examination.findings} == {
        ("unused", "10001 (copy).png"), ("unused", "10001_GT (copy).png"),
    }  # fmt: skip
    assert examination.images == 12


def test_an_image_without_its_mask_has_no_label(kolektorsdd2_root: Path) -> None:
    (kolektorsdd2_root / "test/20000_GT.png").unlink()
    (kolektorsdd2_root / "test/20001.png").unlink()
    assert found(KolektorSDD2(kolektorsdd2_root)) == {
        ("mask missing", "test/20000.png"), ("mask without image", "test/20001_GT.png"),
    }  # fmt: skip
    with pytest.raises(DataError, match=r"20000\.png has no mask beside it, 20000_GT\.png"):
        KolektorSDD2(kolektorsdd2_root).setup()


def test_a_mask_that_cannot_be_read_is_named(kolektorsdd2_root: Path) -> None:
    cut(kolektorsdd2_root / "test/20000_GT.png")
    assert found(KolektorSDD2(kolektorsdd2_root)) == {("truncated", "test/20000_GT.png")}


def test_a_dagm_mask_without_image_is_named(dagm_root: Path) -> None:
    (dagm_root / "Class1/Test/0005.PNG").unlink()
    assert found(DAGM(dagm_root)) == {("mask without image", "Class1/Test/Label/0005_label.PNG")}


@pytest.mark.parametrize("left", ["nothing", "folder", "other"])
def test_a_dagm_part_without_masks_has_no_labels(left: str, dagm_root: Path) -> None:
    for part in ("Class1/Train", "Class10/Test"):
        labels = dagm_root / part / "Label"
        masks = list(labels.iterdir())
        for number, mask in enumerate(masks):
            mask.rename(labels / f"{90 + number}_label.PNG") if left == "other" else mask.unlink()
        if left == "nothing":
            labels.rmdir()
    faults = {("mask missing", "Class1/Train/Label"), ("mask missing", "Class10/Test/Label")}
    assert faults <= found(DAGM(dagm_root))
    for name, part in (("Class1", "Train"), ("Class10", "Test")):
        with pytest.raises(DataError, match=rf"{part}/Label has no mask of any .* unpack it anew"):
            DAGM(dagm_root, classes=name, masks="none").setup()


# ---- Real-IAD ----------------------------------------------------------------------------------


@pytest.mark.parametrize("split", [None, "realiad_jsons"])
def test_views_of_one_piece_share_its_name(split: str | None, tmp_path: Path) -> None:
    root = drawn.draw_realiad(tmp_path / "realiad", ("audiojack",))
    for _ in range(2):  # The second time from the index.
        data = ready(RealIAD(root, split=split, **PIXELS))
        pieces: dict[str, list[str]] = {}
        for sample in data.samples:
            pieces.setdefault(sample.piece, []).append(sample.view)
        assert set(pieces) == {
            *(f"audiojack__{n:04d}_OK" for n in (1, 2, 3)),
            "audiojack__0001_NG_ZW", "audiojack__0002_NG_QS", "audiojack__0003_NG_ZW",
        }  # fmt: skip
        assert {tuple(sorted(views)) for views in pieces.values()} == {
            ("C1", "C2", "C3", "C4", "C5")
        }
