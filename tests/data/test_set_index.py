"""The index of a large set: taken as long as nothing changed, and never otherwise."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

import drawn
from adpt.data import RealIAD, index
from adpt.data.sample import Sample
from adpt.errors import DataError
from adpt.running.paths import index_dir
from adpt.running.whole_files import OUTPUT_MARK, mark_output

SPLIT = "realiad_jsons"


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep an index of what was drawn just now, too."""
    monkeypatch.setattr(index, "SETTLED", float("-inf"))


def listed(root: Path, **options) -> list[Sample]:
    data = RealIAD(root, **options)
    data.setup()
    return data.samples


def indices() -> list[Path]:
    return sorted(index_dir().glob("*")) if index_dir().exists() else []


def forbid_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("listed, not taken from the index")

    monkeypatch.setattr(RealIAD, "find_samples", refuse)


@pytest.mark.parametrize("split", [None, SPLIT])
def test_unchanged_set_is_not_listed_again(realiad_root: Path, split, monkeypatch) -> None:
    before = sorted(realiad_root.rglob("*"))
    first = listed(realiad_root, split=split)
    assert len(indices()) == 2
    forbid_listing(monkeypatch)
    assert listed(realiad_root, split=split) == first
    assert sorted(realiad_root.rglob("*")) == before


def test_options_have_an_index_each(realiad_root: Path) -> None:
    drawn.draw_realiad(realiad_root, ("zipper",), resolution=256, products=2)
    for _ in range(2):
        assert len(listed(realiad_root)) == 60
        assert len(listed(realiad_root, resolution=256)) == 20
        for split, defective in ((SPLIT, 0), ("realiad_jsons_fuiad_0.1", 1)):
            samples = listed(realiad_root, split=split, classes=["zipper"])
            assert sum(s.label for s in samples if s.split == "train") == defective


def test_a_set_without_masks_has_an_index_of_its_own(realiad_root: Path) -> None:
    for _ in range(2):
        assert not any(s.mask for s in listed(realiad_root, split=SPLIT, masks="none"))
        assert any(s.mask for s in listed(realiad_root, split=SPLIT))


def test_another_adpt_lists_anew(realiad_root: Path, monkeypatch) -> None:
    listed(realiad_root)
    monkeypatch.setattr(index, "__version__", "0.0.1")
    forbid_listing(monkeypatch)
    with pytest.raises(AssertionError, match="not taken from the index"):
        listed(realiad_root)


def add(root: Path) -> None:
    (root / "OK" / "S0001" / "zipper_0001_OK_C9_.jpg").touch()


def remove(root: Path) -> None:
    next((root / "NG" / "QS").rglob("*_C5_*.jpg")).unlink()


def rename(root: Path) -> None:
    image = next((root / "OK" / "S0002").glob("*_C1_*.jpg"))
    image.rename(image.with_name(image.name.replace("_C1_", "_C2_")[:-4] + "x.jpg"))


def take_mask(root: Path) -> None:
    next((root / "NG" / "ZW").rglob("*.png")).unlink()


def add_product(root: Path) -> None:
    shutil.copytree(root / "OK" / "S0001", root / "OK" / "S0077")


def fill_empty_folder(root: Path) -> None:
    add_product_image = root / "NG" / "QS" / "empty" / "zipper_0099_NG_QS_C1_.jpg"
    add_product_image.touch()


def mount_where_a_link_leads(root: Path) -> None:
    shutil.copytree(root / "OK" / "S0001", root.parents[1] / "elsewhere")


@pytest.mark.parametrize(
    "change",
    [add, remove, rename, take_mask, add_product, fill_empty_folder, mount_where_a_link_leads],
)
def test_changed_tree_is_noticed(realiad_root: Path, change, monkeypatch) -> None:
    zipper = realiad_root / "realiad_512" / "zipper"
    (zipper / "NG" / "QS" / "empty").mkdir()
    (zipper / "OK" / "link").symlink_to(realiad_root / "elsewhere")
    first = listed(realiad_root)
    assert listed(realiad_root) == first
    time.sleep(0.02)
    change(zipper)
    second = listed(realiad_root)
    assert second != first
    monkeypatch.setenv("ADPT_CACHE", str(realiad_root.parent / "another" / "cache"))
    assert second == listed(realiad_root)


def test_file_put_in_anothers_place_is_checked(realiad_root: Path) -> None:
    listed(realiad_root)
    mask = next((realiad_root / "realiad_512" / "zipper" / "NG").rglob("*.png"))
    time.sleep(0.02)
    drawn.save(np.zeros((9, 9), np.uint8), realiad_root / "new.png")
    (realiad_root / "new.png").replace(mask)
    with pytest.raises(DataError, match="is 9x9 pixels, but its image"):
        listed(realiad_root)


def test_changed_list_is_noticed(realiad_root: Path) -> None:
    number = len(listed(realiad_root, split=SPLIT))
    file = realiad_root / "realiad_jsons" / SPLIT / "zipper.json"
    content = json.loads(file.read_text())
    content["train"].pop()
    file.write_text(json.dumps(content))
    assert len(listed(realiad_root, split=SPLIT)) == number - 1


def test_list_that_takes_the_place_of_another_is_noticed(realiad_root: Path) -> None:
    """Unpacked without its outer folder first, then with it."""
    name = "realiad_jsons_fuiad_0.1"
    inner, outer = realiad_root / "realiad_jsons" / name, realiad_root / name
    inner.rename(outer)
    number = len(listed(realiad_root, split=name))
    shutil.copytree(outer, inner)
    content = json.loads((inner / "zipper.json").read_text())
    content["train"].pop()
    (inner / "zipper.json").write_text(json.dumps(content))
    assert len(listed(realiad_root, split=name)) == number - 1


def test_listed_file_that_went_is_noticed(realiad_root: Path) -> None:
    listed(realiad_root, split=SPLIT)
    time.sleep(0.02)
    next((realiad_root / "realiad_512" / "zipper" / "OK" / "S0003").iterdir()).unlink()
    with pytest.raises(DataError, match=r"1 files that .* are missing"):
        listed(realiad_root, split=SPLIT)


@pytest.mark.parametrize("place", ["OK/S0001", "NG", "OK"])
def test_a_mark_of_results_is_noticed_when_it_comes_and_when_it_goes(
    realiad_root: Path, place: str
) -> None:
    folder = realiad_root / "realiad_512" / "zipper" / place
    drawn.save(drawn.picture("new", 0)[0], realiad_root / "realiad_512/zipper/OK/own/a_C1_.jpg")
    first = listed(realiad_root)
    time.sleep(0.02)
    mark_output(folder)
    if place == "OK":
        with pytest.raises(DataError, match="no normal training image"):
            listed(realiad_root)
    else:
        inside = [sample for sample in first if sample.image.is_relative_to(folder)]
        assert len(listed(realiad_root)) == len(first) - len(inside) < len(first)
    time.sleep(0.02)
    (folder / OUTPUT_MARK).unlink()
    assert listed(realiad_root) == first


def test_a_listed_file_that_is_renamed_to_what_fits_is_noticed(realiad_root: Path) -> None:
    first = listed(realiad_root, split=SPLIT)
    image = first[0].image
    time.sleep(0.02)
    image.rename(image.with_suffix(".JPG"))
    assert listed(realiad_root, split=SPLIT)[0].image == image.with_suffix(".JPG")


def test_change_in_a_class_leaves_the_others_index(realiad_root: Path, monkeypatch) -> None:
    listed(realiad_root)
    time.sleep(0.02)
    add(realiad_root / "realiad_512" / "zipper")
    original, seen = RealIAD.find_samples, []

    def counted(self: RealIAD, class_name: str):
        seen.append(class_name)
        return original(self, class_name)

    monkeypatch.setattr(RealIAD, "find_samples", counted)
    listed(realiad_root)
    assert seen == ["zipper"]


@pytest.mark.parametrize("damage", ["empty", "cut off", "another byte", "no digest"])
def test_damaged_index_is_made_anew(realiad_root: Path, damage: str, monkeypatch) -> None:
    first = listed(realiad_root)
    for file in indices():
        content = file.read_bytes()
        file.write_bytes(
            {
                "empty": b"",
                "cut off": content[:-5],
                "another byte": content.replace(b"_C1_", b"_C2_", 1),
                "no digest": content.partition(b"\n")[2],
            }[damage]
        )
    assert listed(realiad_root) == first
    forbid_listing(monkeypatch)
    assert listed(realiad_root) == first


def test_set_that_changed_just_now_gets_no_index(realiad_root: Path, monkeypatch) -> None:
    monkeypatch.setattr(index, "SETTLED", 60.0)
    listed(realiad_root)
    assert indices() == []


def test_without_a_place_to_write_it_is_listed_every_time(
    realiad_root: Path, tmp_path: Path, monkeypatch, caplog
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ADPT_CACHE", str(tmp_path / "file" / "features"))
    assert len(listed(realiad_root)) == len(listed(realiad_root)) == 60
    assert "is not kept for the next time" in caplog.text


def test_remarks_are_made_again(realiad_root: Path, monkeypatch, caplog) -> None:
    image = next((realiad_root / "realiad_512" / "zipper" / "NG").rglob("*_C1_*.jpg"))
    image.unlink()
    listed(realiad_root)
    caplog.clear()
    forbid_listing(monkeypatch)
    listed(realiad_root)
    assert f"{image.stem}.png belongs to no image" in caplog.text


def test_relative_root_keeps_relative_paths(realiad_root: Path, monkeypatch) -> None:
    absolute = listed(realiad_root)
    monkeypatch.chdir(realiad_root.parent)
    forbid_listing(monkeypatch)
    relative = listed(Path(realiad_root.name))
    assert [realiad_root.parent / s.image for s in relative] == [s.image for s in absolute]
    assert not relative[0].image.is_absolute()


def test_paths_from_an_index_equal_those_that_are_parsed(tmp_path: Path) -> None:
    image, mask = tmp_path / "a" / "b c" / "y.png", tmp_path / "a" / "b c" / "z.png"
    plain = Sample(tmp_path / "x.png", 0, "a", "train")
    listed = [plain, Sample(image, 1, "a", "test", mask, "C1", "dent", piece="y")]
    written = json.dumps(index._content(listed, [], {str(tmp_path): None}, tmp_path))
    found = index._samples(json.loads(written), tmp_path)
    assert found == listed
    assert json.loads(written)["stamps"] == {".": None}
    assert [hash(one.image) for one in found] == [hash(Path(str(one.image))) for one in listed]
    assert str(found[1].image) == f"{tmp_path}/a/b c/y.png"
    assert found[1].mask is not None
    assert found[1].mask.parent == found[1].image.parent
