"""Splits for robustness: which images stay, which move, and what that must not depend on."""

import logging
from collections import Counter
from pathlib import Path

import pytest

from adpt.data import AnomalyDataModule, Folder, Mixed, RealIAD
from adpt.data.drawn import DrawnDownstream
from adpt.data.references import choose_references
from adpt.data.sample import Sample
from adpt.data.splits import keep_fraction, mix_in_anomalies
from adpt.errors import DataError
from drawn import draw_folder


def listed(
    class_name: str = "key", train: int = 40, good: int = 5, defective: int = 12, root: str = "/set"
) -> list[Sample]:
    """A class as a data module would list it; no file is there."""
    folder = Path(root) / class_name
    normal = [Sample(folder / f"train/{i:03d}.png", 0, class_name, "train") for i in range(train)]
    held = [Sample(folder / f"good/{i:03d}.png", 0, class_name, "test") for i in range(good)]
    bad = [
        Sample(
            folder / f"dent/{i:03d}.png",
            1,
            class_name,
            "test",
            mask=folder / f"masks/{i:03d}.png",
            defect="dent",
        )
        for i in range(defective)
    ]
    return [*normal, *held, *bad]


def training(samples: list[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.split == "train"]


def noise(samples: list[Sample]) -> set[Path]:
    return {sample.image for sample in samples if sample.noise}


def split(samples: list[Sample], fraction: float, ratio: float, seed: int = 0) -> list[Sample]:
    return mix_in_anomalies(keep_fraction(samples, fraction, seed), ratio, seed)


# ---- A share of the training images ---------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "fraction", "kept"),
    [(40, 0.1, 4), (40, 1.0, 40), (40, 0.5, 20), (7, 0.1, 1), (3, 0.01, 1), (209, 0.1, 21)],
)
def test_a_share_of_the_normal_training_images_is_kept(
    number: int, fraction: float, kept: int
) -> None:
    samples = listed(train=number)
    found = keep_fraction(samples, fraction, 0)
    assert len(training(found)) == kept
    assert [s for s in found if s.split == "test"] == [s for s in samples if s.split == "test"]
    assert found == [s for s in samples if s in found], "the order of the set"


def test_anomalous_training_images_are_not_counted_and_stay() -> None:
    """Some published splits have them."""
    samples = listed(train=20) + [
        Sample(Path(f"/set/key/odd/{i}.png"), 1, "key", "train", Path("m.png")) for i in range(5)
    ]
    found = training(keep_fraction(samples, 0.1, 0))
    assert Counter(sample.label for sample in found) == {0: 2, 1: 5}


def test_each_view_keeps_its_share() -> None:
    samples = [s._replace(view=f"C{i % 5}") for i, s in enumerate(listed(train=100))]
    found = training(keep_fraction(samples, 0.2, 0))
    assert Counter(sample.view for sample in found) == {f"C{view}": 4 for view in range(5)}
    least = training(keep_fraction(samples, 0.001, 0))
    assert Counter(sample.view for sample in least) == {f"C{view}": 1 for view in range(5)}


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    samples = listed()
    small, large = (set(keep_fraction(samples, fraction, 3)) for fraction in (0.1, 0.4))
    assert small < large


# ---- Anomalous images among the training images ---------------------------------------------


def test_anomalous_test_images_move_and_lose_label_and_mask() -> None:
    samples = listed()
    found = mix_in_anomalies(samples, 0.1, 0)
    moved = [sample for sample in found if sample.noise]
    assert len(moved) == 4
    for sample in moved:
        assert (sample.split, sample.label, sample.mask) == ("train", 0, None)
        assert sample.defect == "dent"
    before = {sample.image: sample for sample in samples}
    assert all(before[s.image] == s for s in found if not s.noise)
    assert [s.image for s in found] == [s.image for s in samples]
    assert all(before[s.image].label == 1 for s in moved)
    test = {sample.image for sample in found if sample.split == "test"}
    assert not test & {sample.image for sample in training(found)}


def test_noise_is_counted_in_the_training_images_that_are_left() -> None:
    found = split(listed(train=60), 0.5, 0.1)
    assert len(training(found)) == 30 + 3
    assert len(noise(found)) == 3


def test_a_smaller_ratio_is_part_of_a_larger_one_and_no_matter_of_the_fraction() -> None:
    samples = listed()
    small, large = (noise(mix_in_anomalies(samples, ratio, 3)) for ratio in (0.05, 0.2))
    assert len(small) == 2
    assert small < large
    assert noise(split(samples, 0.5, 0.1, seed=3)) == small


@pytest.mark.parametrize(("defective", "moved"), [(12, 8), (9, 8), (8, 7), (1, 0), (0, 0)])
def test_one_anomalous_test_image_stays_and_the_rest_is_told(
    defective: int, moved: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "adpt.data.splits"):
        found = mix_in_anomalies(listed(defective=defective), 0.2, 0)
    assert len(noise(found)) == moved
    assert sum(s.label for s in found) == defective - moved
    told = [record.getMessage() for record in caplog.records]
    if moved == 8:
        assert told == []
    else:
        assert len(told) == 1
        assert "data.noise_ratio=0.2 asks for 8 anomalous test images of class 'key'" in told[0]
        assert told[0].endswith(f"which has {defective}: {moved} become training images")


# ---- What the choice depends on -------------------------------------------------------------


def chosen(samples: list[Sample], seed: int = 0) -> tuple[set[Path], set[Path]]:
    """Normal training images kept, and anomalous ones moved."""
    found = split(samples, 0.5, 0.2, seed)
    return {s.image for s in training(found) if not s.noise}, noise(found)


def test_the_seed_decides() -> None:
    samples = listed()
    assert chosen(samples) == chosen(samples)
    kept, moved = chosen(samples)
    other_kept, other_moved = chosen(samples, seed=1)
    assert kept != other_kept
    assert moved != other_moved


def test_neither_order_nor_other_classes_nor_the_folder_matter() -> None:
    samples = listed()
    expected = chosen(samples)
    assert chosen(samples[::-1]) == expected
    others = listed("cable", train=17, defective=3) + samples
    both = chosen(others)
    assert {path for path in both[0] | both[1] if path.parts[2] == "key"} == expected[0] | expected[
        1
    ]
    elsewhere = chosen(listed(root="/mnt/other/disk"))
    for there, here in zip(elsewhere, expected, strict=True):
        assert {p.parts[-2:] for p in there} == {p.parts[-2:] for p in here}


def test_classes_of_the_same_size_draw_differently() -> None:
    one, two = (chosen(listed(name)) for name in ("key", "nut"))
    assert {path.name for path in one[0]} != {path.name for path in two[0]}


def test_defaults_change_nothing() -> None:
    samples = listed()
    assert split(samples, 1.0, 0.0) == samples


# ---- In data modules ------------------------------------------------------------------------


def opened(data: AnomalyDataModule, stage: str | None = None) -> AnomalyDataModule:
    data.prepare_data()
    data.setup(stage)
    return data


def summary(data: AnomalyDataModule) -> Counter:
    return Counter((s.class_name, s.split, s.label, s.noise) for s in data.samples)


def test_a_folder_with_few_and_noisy_training_images(tmp_path: Path) -> None:
    root = draw_folder(tmp_path, ("bottle", "key"), train=10, defective=4)
    data = opened(Folder(root, train_fraction=0.5, noise_ratio=0.4, image_size=32))
    assert summary(data) == {
        (name, *rest): count
        for name in ("bottle", "key")
        for rest, count in {
            ("train", 0, False): 5,
            ("train", 0, True): 2,
            ("test", 0, False): 3,
            ("test", 1, False): 2,
        }.items()
    }
    plain = opened(Folder(root, image_size=32))
    everything = {sample.image for sample in plain.samples}
    assert len(everything) == 2 * 17
    assert {sample.image for sample in data.samples} < everything
    again = opened(Folder(root, train_fraction=0.5, noise_ratio=0.4, image_size=32))
    assert again.samples == data.samples
    other = opened(Folder(root, train_fraction=0.5, noise_ratio=0.4, image_size=32, seed=1))
    assert summary(other) == summary(data)
    assert other.samples != data.samples
    alone = opened(Folder(root, ["key"], train_fraction=0.5, noise_ratio=0.4, image_size=32))
    assert alone.samples == [s for s in data.samples if s.class_name == "key"]


def test_noise_is_read_as_normal_and_may_become_a_reference(tmp_path: Path) -> None:
    data = opened(Folder(draw_folder(tmp_path, ("key",)), noise_ratio=0.3, image_size=32))
    normal = data.select("train", 0, "key")
    moved = [sample for sample in normal if sample.noise]
    assert len(moved) == 2
    batch = data.read(moved)
    assert not batch.mask.any()
    assert batch.label.tolist() == [0, 0]
    assert set(moved) <= set(choose_references(normal, 8, 0))
    left = data.read(data.select("test", 1, "key"))
    assert len(left) == 1
    assert left.mask.any()


def test_real_iad_keeps_its_views(realiad_root: Path) -> None:
    data = opened(RealIAD(realiad_root, train_fraction=0.4, image_size=32))
    for name in ("audiojack", "zipper"):
        views = Counter(sample.view for sample in data.select("train", class_name=name))
        assert views == {f"C{view}": 1 for view in range(1, 6)}


def test_drawn_products_can_be_noisy(tmp_path: Path) -> None:
    data = opened(
        DrawnDownstream(tmp_path, train=5, normal=1, anomalous=2, noise_ratio=0.2, image_size=32)
    )
    for name in data.classes:
        assert sum(sample.noise for sample in data.select("train", 0, name)) == 1
        assert len(data.select("test", 1, name)) == 1


def test_mixed_sets_split_as_one_and_each_for_itself(folder_root: Path, mvtec_root: Path) -> None:
    sets = {
        "plain": Folder(folder_root),
        "few": Folder(mvtec_root, train_fraction=0.5, noise_ratio=0.4),
    }
    own = opened(Mixed(sets))
    assert summary(own)["plain/key", "train", 0, False] == 6
    assert summary(own)["few/cable", "train", 0, False] == 3
    assert summary(own)["few/cable", "train", 0, True] == 1
    all_of_them = opened(Mixed(sets, train_fraction=0.5, noise_ratio=0.4))
    assert summary(all_of_them)["plain/key", "train", 0, False] == 3
    assert summary(all_of_them)["plain/key", "train", 0, True] == 1
    # On top of its own: half of 3, and 0.4 of these 2 moves one more.
    assert summary(all_of_them)["few/cable", "train", 0, False] == 2
    assert summary(all_of_them)["few/cable", "train", 0, True] == 2


def test_pretraining_takes_the_fraction_and_refuses_noise(folder_root: Path) -> None:
    data = opened(Folder(folder_root, train_fraction=0.5, image_size=32), "fit")
    used = Counter((s.class_name, s.split, s.label) for s in data.pretraining_samples())
    assert used["key", "train", 0] == 3
    assert used["key", "test", 0] == used["key", "test", 1] == 3
    for noisy in (
        Folder(folder_root, noise_ratio=0.1),
        Mixed({"own": Folder(folder_root, noise_ratio=0.1)}),
    ):
        with pytest.raises(DataError, match=r"data\.noise_ratio=0\.1 .* needs true labels"):
            noisy.setup("fit")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("train_fraction", 0),
        ("train_fraction", -0.1),
        ("train_fraction", 1.01),
        ("train_fraction", float("nan")),
        ("noise_ratio", -0.1),
        ("noise_ratio", 10),
        ("noise_ratio", float("nan")),
    ],
)
def test_values_out_of_range(folder_root: Path, option: str, value: float) -> None:
    with pytest.raises(DataError, match=rf"data\.{option}={value}"):
        Folder(folder_root, **{option: value})
