"""Real-IAD: by folder and by its own JSON splits."""

import json
from collections import Counter
from pathlib import Path

import pytest

import drawn
from adpt.data import RealIAD
from adpt.errors import DataError

SPLIT = "realiad_jsons"


def changed(root: Path, change, split: str = SPLIT) -> Path:
    """Let `change` alter audiojack's split file."""
    file = root / "realiad_jsons" / split / "audiojack.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return root


def test_scan_takes_every_image_with_view_and_kind(realiad_root: Path) -> None:
    data = RealIAD(realiad_root)
    data.setup()
    assert data.classes == ["audiojack", "zipper"]
    for name in data.classes:
        assert Counter(s.view for s in data.select("train", 0, name)) == dict.fromkeys(
            ("C1", "C2", "C3", "C4", "C5"), 3
        )
        assert data.select("train", 1, name) == []
        assert Counter(s.view for s in data.select("test", 1, name)) == {"C1": 3, "C2": 3, "C3": 3}
        assert Counter(s.defect for s in data.select("test", 1, name)) == {"QS": 3, "ZW": 6}


def test_view_without_mask_is_normal(realiad_root: Path) -> None:
    data = RealIAD(realiad_root)
    data.setup()
    normal = data.select("test", 0)
    assert Counter(s.view for s in normal) == {"C4": 6, "C5": 6}
    assert {s.defect for s in normal} == {"good"}
    assert {s.mask for s in normal} == {None}


def test_masks_are_those_beside_the_images(realiad_root: Path) -> None:
    data = RealIAD(realiad_root)
    data.setup()
    assert all(s.mask == s.image.with_suffix(".png") for s in data.select("test", 1))


@pytest.mark.parametrize("resolution", [256, "1024", "raw"])
def test_other_resolutions_lie_in_their_own_folder(tmp_path: Path, resolution: int | str) -> None:
    drawn.draw_realiad(tmp_path, resolution=resolution, products=1, size=32)
    data = RealIAD(tmp_path, resolution=resolution)
    data.setup()
    assert len(data.samples) == 10
    with pytest.raises(DataError, match=r"There is no folder .*realiad_512"):
        RealIAD(tmp_path).setup()


def test_unknown_resolution(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"256, 512, 1024, raw, not '500'"):
        RealIAD(tmp_path, resolution=500)


def test_image_without_a_view_is_named(realiad_root: Path) -> None:
    folder = realiad_root / "realiad_512" / "zipper" / "NG" / "QS" / "S0002"
    image = next(folder.glob("*.jpg"))
    image.rename(folder / "holiday.jpg")
    with pytest.raises(DataError, match=r"S0002/holiday\.jpg does not tell its camera view"):
        RealIAD(realiad_root).setup()


def test_mask_without_image_is_told(realiad_root: Path, caplog) -> None:
    image = next((realiad_root / "realiad_512" / "zipper" / "NG").rglob("*_C1_*.jpg"))
    image.unlink()
    RealIAD(realiad_root).setup()
    assert f"{image.stem}.png belongs to no image" in caplog.text


def test_json_split_holds_out_normal_images(realiad_root: Path) -> None:
    data = RealIAD(realiad_root, split=SPLIT)
    data.setup()
    for name in data.classes:
        counts = [len(data.select(s, k, name)) for s in ("train", "test") for k in (0, 1)]
        assert counts == [10, 0, 11, 9]
    defective = data.select("test", 1, "audiojack")
    assert {s.defect for s in defective} == {"QS", "ZW"}
    assert all(s.mask and s.mask.is_file() for s in defective)
    assert {s.view for s in data.select("train")} == {"C1", "C2", "C3", "C4", "C5"}


def test_noisy_split_trains_on_labelled_anomalies(realiad_root: Path) -> None:
    data = RealIAD(realiad_root, split="realiad_jsons_fuiad_0.1")
    data.setup()
    assert len(data.select("train", 1, "audiojack")) == 1


def test_splits_unpacked_without_their_outer_folder(realiad_root: Path) -> None:
    inner = realiad_root / "realiad_jsons" / "realiad_jsons_fuiad_0.1"
    inner.rename(realiad_root / inner.name)
    RealIAD(realiad_root, split=inner.name).setup()


def test_missing_split_lists_those_that_are_there(realiad_root: Path) -> None:
    with pytest.raises(DataError, match=r"realiad_jsons_sv/audiojack\.json \(splits .*fuiad_0\.1"):
        RealIAD(realiad_root, split="realiad_jsons_sv").setup()


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"meta": {}}', '{"train": 3}', "\x00"])
def test_split_file_that_is_none(realiad_root: Path, content: str) -> None:
    (realiad_root / "realiad_jsons" / SPLIT / "audiojack.json").write_text(content)
    with pytest.raises(DataError, match=r"audiojack\.json is not a split of Real-IAD"):
        RealIAD(realiad_root, split=SPLIT).setup()


@pytest.mark.parametrize("path", ["../../../secret.jpg", "/etc/secret_C1_.jpg", "C:/x_C1_.jpg", ""])
@pytest.mark.parametrize("key", ["image_path", "mask_path", "prefix"])
def test_split_cannot_lead_out_of_the_set(realiad_root: Path, path: str, key: str) -> None:
    def escape(content) -> None:
        entry = next(e for e in content["test"] if e["mask_path"])
        (content["meta"] if key == "prefix" else entry)[key] = path

    with pytest.raises(DataError, match="must be relative and stay inside"):
        RealIAD(changed(realiad_root, escape), split=SPLIT).setup()


def test_listed_files_that_are_missing_are_counted(realiad_root: Path) -> None:
    folder = realiad_root / "realiad_512" / "audiojack" / "OK" / "S0002"
    gone = sorted(folder.iterdir())[:2]
    for image in gone:
        image.unlink()
    with pytest.raises(DataError, match=f"2 files that .* are missing, the first: {gone[0]}"):
        RealIAD(realiad_root, split=SPLIT).setup()


@pytest.mark.parametrize(
    "fault", [{"anomaly_class": "OK"}, {"mask_path": None}], ids=["normal with mask", "no mask"]
)
def test_split_that_contradicts_itself(realiad_root: Path, fault: dict) -> None:
    def mislabel(content) -> None:
        next(e for e in content["test"] if e["mask_path"]).update(fault)

    with pytest.raises(DataError, match="a defective image needs a mask, and a normal one"):
        RealIAD(changed(realiad_root, mislabel), split=SPLIT).setup()
