"""Images that come into a folder, each given once it is whole."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from adpt.inspection import watching
from adpt.inspection.watching import new_images


class Happening:
    """Stands in for the time between two looks: what happens then, and what was given until then.

    `steps` are called one after the other, one between two looks; after the last it ends.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: list) -> None:
        self.steps, self.now = iter(steps), 1000.0
        monkeypatch.setattr(watching.time, "sleep", self.sleep)
        monkeypatch.setattr(watching.time, "monotonic", lambda: self.now)

    def sleep(self, seconds: float) -> None:
        self.now += 0.5
        next(self.steps)()


def given(images: Iterator[Path]) -> list[str]:
    found = []
    try:
        for path in images:
            found.append(path.name)
    # What ends the steps; a generator makes a RuntimeError of it.
    except RuntimeError:
        return found
    return found


def written(path: Path, content: bytes = b"x") -> None:
    """As a camera writes: both times of the file are the moment of the last byte."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def nothing() -> None:
    pass


def test_a_file_is_given_once_it_stays_as_it_is(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.png"

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    Happening(monkeypatch, [lambda: written(path), *[grow] * 4, *[nothing] * 3])
    assert given(new_images(tmp_path, existing=False, settle=1.0)) == ["a.png"]
    assert path.stat().st_size == 17


def test_a_file_that_is_moved_in_is_given_at_once(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    written(tmp_path / "a.part")
    time.sleep(0.05)
    Happening(monkeypatch, [lambda: (tmp_path / "a.part").rename(folder / "a.png"), nothing])
    assert given(new_images(folder, existing=False, settle=1e9)) == ["a.png"]


def test_files_that_are_there_are_given_where_asked(tmp_path: Path, monkeypatch) -> None:
    written(tmp_path / "a.png")
    written(tmp_path / "b.txt")
    written(tmp_path / ".hidden.png")
    Happening(monkeypatch, [nothing] * 4)
    assert given(new_images(tmp_path, existing=False, settle=1.0)) == []
    Happening(monkeypatch, [lambda: written(tmp_path / "deep" / "c.png"), *[nothing] * 4])
    assert given(new_images(tmp_path, existing=True, settle=1.0)) == ["a.png", "c.png"]


def test_a_file_that_comes_before_the_first_look_is_new(tmp_path: Path, monkeypatch) -> None:
    written(tmp_path / "a.png")
    coming = new_images(tmp_path, existing=False, settle=1.0)
    written(tmp_path / "b.png")  # While models are loaded.
    Happening(monkeypatch, [nothing] * 4)
    assert given(coming) == ["b.png"]


def test_older_files_come_first(tmp_path: Path, monkeypatch) -> None:
    for name, moment in (("a.png", 1.2e9), ("b.png", 1e9)):
        written(tmp_path / name)
        os.utime(tmp_path / name, (moment, moment))
    Happening(monkeypatch, [nothing] * 3)
    assert given(new_images(tmp_path, existing=True, settle=1.0)) == ["b.png", "a.png"]


def test_a_changed_file_is_given_again_and_an_empty_one_never(tmp_path: Path, monkeypatch) -> None:
    steps = [
        lambda: written(tmp_path / "a.png"), nothing, nothing, nothing,
        lambda: written(tmp_path / "a.png", b"other"), nothing, nothing, nothing,
        lambda: written(tmp_path / "b.png", b""), nothing, nothing, nothing,
    ]  # fmt: skip
    Happening(monkeypatch, steps)
    assert given(new_images(tmp_path, existing=False, settle=1.0)) == ["a.png", "a.png"]


def test_odd_and_vanishing_files_and_folders_end_nothing(tmp_path, monkeypatch, caplog) -> None:
    folder, away = tmp_path / "in", tmp_path / "away"
    folder.mkdir()
    steps = [
        lambda: written(folder / "a.png"), nothing, nothing, nothing,
        lambda: (os.mkfifo(folder / "pipe.png"), (folder / "b.png").symlink_to("nowhere")),
        lambda: written(folder / "gone.png"), lambda: (folder / "gone.png").unlink(),
        lambda: folder.rename(away), nothing, lambda: away.rename(folder),
        lambda: written(folder / "c.png"), nothing, nothing, nothing,
    ]  # fmt: skip
    Happening(monkeypatch, steps)
    assert given(new_images(folder, existing=False, settle=1.0)) == ["a.png", "c.png"]
    assert caplog.text.count("looking again until it can be listed") == 1
