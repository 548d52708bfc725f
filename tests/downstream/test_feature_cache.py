"""Features on disk: found again, bounded, safe against other processes and damage."""

import logging
import multiprocessing
import os
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adpt.errors import UserError
from adpt.evaluation import feature_cache
from adpt.evaluation.feature_cache import FeatureCache, FeatureSpace, MissingFeaturesError


def levels(value: float) -> list[Tensor]:
    return [torch.full((2, 3, 4), value), torch.full((5, 1, 1), value)]


def key(number: int) -> str:
    return f"{number:064x}"[::-1]


def space(folder: Path, max_gb: float = 1.0, **decides: object) -> FeatureSpace:
    return FeatureCache(folder, max_gb).space(**(decides or {"backbone": "b"}))


def file_size(folder: Path) -> int:
    made = space(folder / "measured")
    made.write(key(0), levels(0))
    return made.path(key(0)).stat().st_size


def test_what_was_written_is_read_in_the_order_asked_for(tmp_path: Path) -> None:
    made = space(tmp_path)
    for number in (1, 2, 3):
        made.write(key(number), levels(number))
    read = made.read([key(3), key(1), key(3)])
    assert [level.shape for level in read] == [(3, 2, 3, 4), (3, 5, 1, 1)]
    assert read[0][:, 0, 0, 0].tolist() == [3, 1, 3]
    assert made.present([key(1), key(4)]) == {key(1)}


def test_another_process_finds_it_and_other_features_have_a_place_of_their_own(
    tmp_path: Path,
) -> None:
    space(tmp_path).write(key(1), levels(1))
    assert space(tmp_path).present([key(1)])
    assert not space(tmp_path, backbone="another").present([key(1)])


def test_missing_and_damaged_features_are_named_and_damaged_ones_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = space(tmp_path)
    made.write(key(1), levels(1))
    whole = made.path(key(1)).read_bytes()
    changed = bytearray(whole)
    changed[-3] ^= 1
    for content in (b"", b"\0" * 400, whole[:-7], whole[:-1], bytes(changed), whole, whole[32:]):
        made.path(key(2)).parent.mkdir(exist_ok=True)
        made.path(key(2)).write_bytes(content)
        with caplog.at_level(logging.WARNING), pytest.raises(MissingFeaturesError) as caught:
            made.read([key(1), key(2)])
        assert caught.value.key == key(2)
        assert str(made.path(key(2))) in caplog.text
        assert not made.path(key(2)).exists()
    with pytest.raises(MissingFeaturesError):
        made.read([key(3)])
    other = space(tmp_path, backbone="another")
    other.path(key(1)).parent.mkdir(parents=True)
    other.path(key(1)).write_bytes(whole)
    with pytest.raises(MissingFeaturesError):
        other.read([key(1)])
    assert made.read([key(1)])[0].shape == (1, 2, 3, 4)


def test_a_folder_in_a_files_place_makes_way_and_what_a_kill_left_goes(tmp_path: Path) -> None:
    made = space(tmp_path)
    (made.path(key(1)) / "inside").mkdir(parents=True)
    assert made.present([key(1)])
    with pytest.raises(MissingFeaturesError):
        made.read([key(1)])
    made.write(key(1), levels(1))
    assert made.read([key(1)])[0].unique().tolist() == [1]


def test_a_folder_among_the_files_is_no_obstacle_to_making_room(tmp_path: Path) -> None:
    made = space(tmp_path)
    for number in (1, 2):
        made.write(key(number), levels(number))
    size = made.path(key(1)).stat().st_size
    (made.path(key(3)) / "inside").mkdir(parents=True)
    (made.folder / ".x.part").mkdir()
    assert FeatureCache(tmp_path, 2 * size / 1e9).make_room(2 * size)
    assert not made.present([key(1), key(2)])
    assert made.path(key(3)).is_dir()


def test_the_least_recently_used_make_room(tmp_path: Path) -> None:
    size = file_size(tmp_path)
    made = space(tmp_path / "cache", max_gb=3.5 * size / 1e9)
    for number in (1, 2, 3):
        made.write(key(number), levels(number))
        os.utime(made.path(key(number)), (number, number))
    made.present([key(1)])  # Used just now.
    assert made.cache.make_room(size)
    assert made.present([key(1), key(2), key(3)]) == {key(1), key(3)}


def test_nothing_is_removed_for_what_cannot_fit(tmp_path: Path) -> None:
    size = file_size(tmp_path)
    made = space(tmp_path / "cache", max_gb=2.5 * size / 1e9)
    for number in (1, 2):
        made.write(key(number), levels(number))
    keep = {made.path(key(number)) for number in (1, 2)}
    assert not made.cache.make_room(3 * size)
    assert not made.cache.make_room(size, keep)
    assert made.present([key(1), key(2)]) == {key(1), key(2)}
    assert made.cache.make_room(size, {made.path(key(1))})
    assert made.present([key(1), key(2)]) == {key(1)}


def test_a_size_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cache\.max_gb"):
        FeatureCache(tmp_path, 0)


def _write_all(folder: Path) -> None:
    made = space(folder)
    for _ in range(20):
        for number in range(5):
            made.write(key(number), levels(number))


def test_processes_that_write_the_same_files_leave_whole_ones(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_write_all, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    made, wrong = space(tmp_path), []
    while any(process.is_alive() for process in processes):
        for number in made.present([key(n) for n in range(5)]):
            read = made.read([number])
            if read[0].unique().numel() != 1 or read[0][0, 0, 0, 0] != read[1].flatten()[0]:
                wrong.append(number)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert not wrong
    assert made.read([key(n) for n in range(5)])[0][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert not list(tmp_path.rglob("*.part"))


def test_making_room_while_another_removes_files_does_not_fail(tmp_path: Path) -> None:
    made = space(tmp_path, max_gb=1e-6)

    def churn() -> None:
        for _ in range(50):
            for path in tmp_path.rglob("*.features"):
                path.unlink(missing_ok=True)

    thread = threading.Thread(target=churn)
    thread.start()
    for number in range(100):
        made.write(key(number), levels(number))
        made.cache.make_room(300)
    thread.join()


def test_a_folder_is_not_looked_through_for_every_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = file_size(tmp_path)
    cache = FeatureCache(tmp_path / "cache", 4.5 * size / 1e9)
    looks: list[int] = []
    files = FeatureCache._files
    monkeypatch.setattr(FeatureCache, "_files", lambda self: looks.append(1) or files(self))
    for number in range(4):
        made = cache.where({"class": number}).space(backbone="b")
        assert made.cache.make_room(size)
        made.write(key(number), levels(number))
        os.utime(made.path(key(number)), (number + 1, number + 1))
    assert len(looks) == 1
    # What does not fit by what is known is looked for, and so is what others wrote meanwhile.
    assert cache.make_room(2 * size)
    assert len(looks) == 2
    left = {path.stem for path in (tmp_path / "cache").rglob("*.features")}
    assert left == {key(number) for number in (2, 3)}
    monkeypatch.setattr(feature_cache, "_LOOK_AGAIN", 0.0)
    for number in (0, 1):
        cache = FeatureCache(tmp_path / "cache", 9 * size / 1e9)
        assert cache.make_room(size)
        assert cache.make_room(size)
        assert len(looks) == 4 + 2 * number
