"""Several sets as one, real with real."""

from collections import Counter
from pathlib import Path

import pytest

from adpt.data import Folder, Mixed, MVTec, RealIAD
from adpt.errors import DataError


def mixed(own: Path, mvtec: Path, **options) -> Mixed:
    sets = {"own": Folder(own, image_size=999), "mvtec": MVTec(mvtec, pretrain_splits=["train"])}
    data = Mixed(sets, **{"image_size": 32, "batch_size": 8, "num_workers": 0, **options})
    data.setup()
    return data


def test_classes_of_the_same_name_stay_apart(folder_root: Path, mvtec_root: Path) -> None:
    data = mixed(folder_root, mvtec_root)
    assert data.classes == ["own/bottle", "own/key", "mvtec/bottle", "mvtec/cable"]
    for name, root in (("own/bottle", folder_root), ("mvtec/bottle", mvtec_root)):
        images = [sample.image for sample in data.samples if sample.class_name == name]
        assert len(images) == 12
        assert all(image.is_relative_to(root) for image in images)


def test_pretraining_takes_what_each_set_allows(folder_root: Path, mvtec_root: Path) -> None:
    samples = mixed(folder_root, mvtec_root).pretraining_samples()
    assert Counter((s.class_name.split("/")[0], s.split) for s in samples) == {
        ("own", "train"): 12,
        ("own", "test"): 12,
        ("mvtec", "train"): 12,
    }
    only_train = mixed(folder_root, mvtec_root, pretrain_splits=["train"]).pretraining_samples()
    assert Counter(s.split for s in only_train) == {"train": 24}


def test_masks_are_inverted_where_a_set_says_so_and_everywhere_where_all_are_to_be(
    folder_root: Path, mvtec_root: Path
) -> None:
    sets = {"own": Folder(folder_root, invert_masks=True), "mvtec": MVTec(mvtec_root)}
    for everywhere in (False, True):
        data = Mixed(sets, invert_masks=everywhere)
        data.setup()
        inverts = data.geometry.rules.inverts
        assert (inverts("own/key"), inverts("mvtec/cable")) == (True, everywhere)


def test_batches_are_of_the_mixtures_size_and_hold_both_sets(folder_root, mvtec_root) -> None:
    batches = list(mixed(folder_root, mvtec_root).train_dataloader())
    assert {batch.image.shape[1:] for batch in batches} == {(2, 3, 32, 32)}
    assert [len(batch) for batch in batches] == [8] * 4 + [4]
    assert {name for batch in batches for name in batch.class_name} == {
        "own/bottle", "own/key", "mvtec/bottle", "mvtec/cable",
    }  # fmt: skip


def test_one_class_of_the_mixture_downstream(folder_root: Path, mvtec_root: Path) -> None:
    data = mixed(folder_root, mvtec_root, classes=["mvtec/cable"])
    assert data.classes == ["mvtec/cable"]
    assert len(data.select("test", 1, "mvtec/cable")) == 3
    with pytest.raises(DataError, match="No class of this set: cable; known are own/bottle"):
        mixed(folder_root, mvtec_root, classes=["cable"])


def test_views_survive(folder_root: Path, realiad_root: Path) -> None:
    data = Mixed({"real": RealIAD(realiad_root), "own": Folder(folder_root)})
    data.setup()
    assert {s.view for s in data.samples if s.class_name == "real/zipper"} == {
        "C1", "C2", "C3", "C4", "C5",
    }  # fmt: skip
    assert data.set_name == "real+own"


def test_fault_of_one_set_is_told(folder_root: Path, tmp_path: Path) -> None:
    data = Mixed({"own": Folder(folder_root), "mvtec": MVTec(tmp_path / "gone")})
    with pytest.raises(DataError, match=r"There is no folder .*gone"):
        data.setup()


@pytest.mark.parametrize("sets", [{}, {"a/b": None}, {"own": {"root": "x"}}])
def test_sets_that_are_none(sets: dict) -> None:
    with pytest.raises(DataError, match=r"data\.sets"):
        Mixed(sets)
