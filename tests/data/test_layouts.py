"""Each set read from a drawn tree in its published layout."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image

import drawn
from adpt.data import (
    BTAD,
    DAGM,
    MPDD,
    AnomalyDataModule,
    Folder,
    KolektorSDD2,
    MVTec,
    MVTec3D,
    MVTecAD2,
    MVTecLOCO,
    RealIAD,
    VisA,
    checks,
)
from adpt.errors import DataError

PIXELS = {"image_size": 32, "num_workers": 0}


KINDS: dict[str, type[AnomalyDataModule]] = {
    "mvtec": MVTec, "folder": Folder, "visa": VisA, "btad": BTAD, "mvtec3d": MVTec3D,
    "mpdd": MPDD, "mvtec_ad2": MVTecAD2, "mvtec_loco": MVTecLOCO, "kolektorsdd2": KolektorSDD2,
    "dagm": DAGM,
}  # fmt: skip


@pytest.fixture(params=KINDS)
def drawn_set(request: pytest.FixtureRequest) -> AnomalyDataModule:
    root = request.getfixturevalue(f"{request.param}_root")
    return KINDS[request.param](root, **PIXELS)


def test_every_drawn_image_is_listed_once_with_its_label(drawn_set: AnomalyDataModule) -> None:
    drawn_set.setup()
    for name in drawn_set.classes:
        assert len(drawn_set.select("train", 0, name)) == 6
        assert len(drawn_set.select("train", 1, name)) == 0
        assert len(drawn_set.select("test", 0, name)) == 3
        assert len(drawn_set.select("test", 1, name)) == 3
    assert len({sample.image for sample in drawn_set.samples}) == len(drawn_set.samples)
    assert {s.defect == "good" for s in drawn_set.samples if s.label == 0} == {True}


def test_masks_lie_on_the_drawn_defects(drawn_set: AnomalyDataModule) -> None:
    """The defect is the only yellow thing in a picture: high red and low blue."""
    drawn_set.setup()
    batch = drawn_set.read(drawn_set.select("test"))
    for image, mask, label in zip(batch.image, batch.mask, batch.label, strict=True):
        yellow = (image[0].int() - image[2].int()) > 140
        assert mask.any() == bool(label)
        assert (yellow & ~mask).sum() <= 6
        assert (mask & ~yellow).sum() <= 0.5 * mask.sum() + 6


def test_pretraining_and_downstream_differ_in_config_only(folder_root: Path) -> None:
    both = Folder(folder_root, **PIXELS)
    normal_only = Folder(folder_root, pretrain_splits=["train"], **PIXELS)
    for data in (both, normal_only):
        data.setup()
    assert Counter(s.label for s in both.pretraining_samples()) == {0: 18, 1: 6}
    assert Counter(s.label for s in normal_only.pretraining_samples()) == {0: 12}
    assert both.select("test") == normal_only.select("test")


def test_class_subset_keeps_its_order_and_drops_repeats(mvtec_root: Path) -> None:
    data = MVTec(mvtec_root, classes=["cable", "bottle", "cable"], **PIXELS)
    data.setup()
    assert data.classes == ["cable", "bottle"]
    assert len(data.samples) == 24


def test_one_class_needs_no_list(mvtec_root: Path) -> None:
    data = MVTec(mvtec_root, classes="cable", **PIXELS)
    data.setup()
    assert data.classes == ["cable"]


def test_btad_class_that_yaml_read_as_a_number(btad_root: Path) -> None:
    data = BTAD(btad_root, classes=[1, "03"], **PIXELS)
    data.setup()
    assert data.classes == ["01", "03"]


def test_btad_masks_of_both_kinds_are_found(btad_root: Path) -> None:
    data = BTAD(btad_root, **PIXELS)
    data.setup()
    kinds = {s.class_name: s.mask.suffix for s in data.select("test", 1) if s.mask}
    assert kinds == {"01": ".png", "02": ".png", "03": ".bmp"}


def test_folder_takes_masks_with_and_without_suffix_of_any_format(folder_root: Path) -> None:
    masks = folder_root / "key" / "ground_truth" / "scratch"
    (masks / "000_mask.png").rename(masks / "000.png")
    Image.open(masks / "001_mask.png").save(masks / "001_mask.bmp")
    (masks / "001_mask.png").unlink()
    data = Folder(folder_root, classes=["key"], **PIXELS)
    data.setup()
    names = [s.mask.name for s in data.select("test", 1) if s.mask]
    assert names == ["000.png", "001_mask.bmp", "002_mask.png"]


def test_mvtec3d_ignores_the_empty_masks_of_normal_images(mvtec3d_root: Path) -> None:
    data = MVTec3D(mvtec3d_root, **PIXELS)
    data.setup()
    assert [s.mask for s in data.select("test", 0)] == [None] * 3


def test_visa_few_shot_list_trains_on_an_anomaly(visa_root: Path) -> None:
    data = VisA(visa_root, split="2cls_fewshot", **PIXELS)
    data.setup()
    assert len(data.select("train", 1, "candle")) == 1
    assert len(data.select("test", 1, "candle")) == 2


def test_visa_mask_of_value_one_counts(visa_root: Path) -> None:
    data = VisA(visa_root, **PIXELS)
    data.setup()
    first = data.select("test", 1, "candle")[:1]
    assert Image.open(first[0].mask or "").getextrema() == (0, 1)
    assert data.read(first).mask.any()


@pytest.mark.parametrize("kind", [*KINDS.values(), RealIAD])
def test_missing_folder_shows_tree_and_source(kind: type[AnomalyDataModule], tmp_path: Path):
    root = tmp_path / "nowhere"
    with pytest.raises(DataError) as caught:
        kind(root).setup()
    message = str(caught.value)
    assert str(root) in message
    assert kind.layout in message
    assert kind.source in message


@pytest.mark.parametrize("kind", [VisA, RealIAD])
def test_sets_without_a_link_say_that_they_are_downloaded_by_hand(kind, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="downloaded by hand"):
        kind(tmp_path / "nowhere").setup()
    with pytest.raises(DataError, match="downloaded by hand"):
        kind(tmp_path).setup()  # There, but empty.


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind is not VisA])
def test_empty_folder(kind: type[AnomalyDataModule], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?si)No class of the set lies in .*train"):
        kind(tmp_path).setup()


def test_unknown_class_lists_the_known(mvtec_root: Path) -> None:
    with pytest.raises(DataError, match=r"No class of this set: botle, x; known are bottle, cable"):
        MVTec(mvtec_root, classes=["botle", "cable", "x"]).setup()


def test_known_class_that_is_not_on_disk_lists_those_that_are(mvtec_root: Path) -> None:
    with pytest.raises(DataError, match=r"Not in .*mvtec: zipper; there are bottle, cable"):
        MVTec(mvtec_root, classes=["zipper"]).setup()


def test_no_class_at_all_wanted(mvtec_root: Path) -> None:
    with pytest.raises(DataError, match=r"data\.classes is empty"):
        MVTec(mvtec_root, classes=[]).setup()


def test_missing_classes_of_a_published_set_are_told(mvtec_root: Path, caplog) -> None:
    MVTec(mvtec_root).setup()
    assert "lacks the classes capsule, carpet" in caplog.text


def test_defect_without_mask(mvtec_root: Path) -> None:
    (mvtec_root / "cable" / "ground_truth" / "scratch" / "001_mask.png").unlink()
    with pytest.raises(DataError, match=r"1 defective images of class 'cable'.*scratch/001\.png"):
        MVTec(mvtec_root).setup()


def test_no_normal_training_image(mvtec_root: Path) -> None:
    for image in (mvtec_root / "cable" / "train" / "good").iterdir():
        image.unlink()
    with pytest.raises(DataError, match="Class 'cable' has no normal training image"):
        MVTec(mvtec_root).setup()


def test_sizes_of_square_images_come_from_their_headers(mvtec_root: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(checks, "read_image", refuse)
    MVTec(mvtec_root).setup()


def test_mask_of_another_size(mvtec_root: Path) -> None:
    mask = mvtec_root / "bottle" / "ground_truth" / "scratch" / "002_mask.png"
    Image.open(mask).resize((40, 48)).save(mask)
    with pytest.raises(DataError, match=r"002_mask\.png is 40x48 .*'bottle'\) is 48x48"):
        MVTec(mvtec_root).setup()


def test_visa_without_its_list(visa_root: Path) -> None:
    with pytest.raises(DataError, match=r"There is no list .*2cls_highshot\.csv"):
        VisA(visa_root, split="2cls_highshot").setup()


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("candle,train,good,a.JPG,", "line 2: label 'good'"),
        ("candle,val,normal,a.JPG,", "split 'val'"),
        ("candle,train,normal,../../secret.JPG,", "must be relative and stay inside"),
        ("candle,train,normal,/etc/secret.JPG,", "must be relative and stay inside"),
        ("candle,train,normal", "must be relative and stay inside"),
        ("candle,train,normal,candle/gone.JPG,", r"1 files that .*1cls\.csv lists are missing"),
        ("candle,test,anomaly,candle/Data/Images/Normal/0000.JPG,", "have no mask"),
    ],
)
def test_visa_list_with_a_fault(visa_root: Path, row: str, fault: str) -> None:
    (visa_root / "split_csv" / "1cls.csv").write_text(f"object,split,label,image,mask\n{row}\n")
    with pytest.raises(DataError, match=fault):
        VisA(visa_root).setup()


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"", b"\xff\xfe\x00bad"])
def test_visa_list_that_is_none(visa_root: Path, content: bytes) -> None:
    (visa_root / "split_csv" / "1cls.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"1cls\.csv (has the columns|cannot be read as CSV)"):
        VisA(visa_root).setup()


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        ({"on_bad_image": "ignore"}, r"data\.on_bad_image"),
        ({"pretrain_splits": "train"}, r"data\.pretrain_splits"),
        ({"pretrain_splits": []}, r"data\.pretrain_splits"),
        ({"batch_size": 0}, r"data\.batch_size=0"),
        ({"num_workers": -1}, r"data\.num_workers=-1"),
    ],
)
def test_wrong_option(option: dict, fault: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=fault):
        MVTec(tmp_path, **option)


def test_links_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    root = drawn.draw_mvtec(tmp_path / "mvtec")
    (root / "bottle" / "test" / "loop").symlink_to(root / "bottle" / "test" / "loop")
    (root / "bottle" / "test" / "up").symlink_to(root / "bottle")
    realiad = drawn.draw_realiad(tmp_path / "realiad", products=1)
    top = realiad / "realiad_512" / "audiojack" / "OK"
    (top / "again").symlink_to(top)
    (top / "itself").symlink_to(top / "itself")
    for data, count in ((MVTec(root), 12), (RealIAD(realiad), 10)):
        data.setup()
        assert len(data.samples) == count


def test_linked_class_folder_is_read(tmp_path: Path) -> None:
    drawn.draw_mvtec(tmp_path / "elsewhere")
    (tmp_path / "mvtec").mkdir()
    (tmp_path / "mvtec" / "bottle").symlink_to(tmp_path / "elsewhere" / "bottle")
    data = MVTec(tmp_path / "mvtec")
    data.setup()
    assert len(data.samples) == 12


def test_batch_says_all_that_the_issue_asks_for(realiad_root: Path) -> None:
    data = RealIAD(realiad_root, **PIXELS)
    data.setup()
    sample = data.select("test", 1, "zipper")[0]
    batch = data.read([sample])
    assert batch.image.shape == (1, 3, 32, 32)
    assert batch.image.dtype == torch.uint8
    assert batch.mask.dtype == torch.bool
    assert batch.mask.shape == (1, 32, 32)
    assert (batch.label.tolist(), batch.class_name, batch.view) == ([1], ["zipper"], ["C1"])
    assert batch.path == [str(sample.image)]
    assert batch.skipped == []
