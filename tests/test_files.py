"""Files are written whole or not at all, whatever interrupts the writing."""

import errno
import os
import re
import stat
from pathlib import Path

import pytest

from adpt.errors import UserError
from adpt.running.whole_files import advising_on_full_disk, replacing


def write(path: Path, content: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(content)


def test_file_is_written_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "table.csv"
    write(path, "whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write(path, "a longer one")
    write(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_who_reads_the_old_file_goes_on_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with path.open() as reader:
        write(path, "new")
        assert reader.read() == "old"


def test_others_may_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write(path, "whole")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_file_keeps_its_old_content_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with replacing(path) as temporary:
        assert temporary.parent == path.parent
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("bad"), SystemExit(1)])
def test_interruption_leaves_everything_as_it_was(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_is_reported_with_the_path(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def out_of_space() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=f"{re.escape(str(path))}.*No space left"):
        out_of_space()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_in_the_file_s_place_is_reported(tmp_path: Path) -> None:
    (tmp_path / "table.csv" / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "table.csv"))):
        write(tmp_path / "table.csv", "new")
    assert list(tmp_path.iterdir()) == [tmp_path / "table.csv"]


def test_file_in_the_folder_s_place_is_reported(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "results" / "table.csv"))):
        write(tmp_path / "results" / "table.csv", "new")


# ---- A full disk ----------------------------------------------------------------------------


def full(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_ends_with_how_to_go_on(tmp_path: Path, number: int) -> None:
    path = tmp_path / "table.csv"
    with (
        pytest.raises(UserError) as told,
        advising_on_full_disk(lambda: "Start again."),
        replacing(path),
    ):
        raise full(number)
    assert str(told.value) == (
        f"Cannot write {path}: {full(number)}. Free some space there. Start again."
    )


def test_other_errors_are_no_full_disk() -> None:
    def met_on_a_full_disk() -> None:
        try:
            raise full(errno.ENOSPC)
        except OSError:
            raise ValueError("another fault")  # noqa: B904

    for error, raised in ((full(errno.EACCES), PermissionError), (KeyError("a"), KeyError)):
        with pytest.raises(raised), advising_on_full_disk(lambda: ""):
            raise error
    with pytest.raises(ValueError, match="another fault"), advising_on_full_disk(lambda: ""):
        met_on_a_full_disk()


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o027, 0o640), (0o002, 0o664)])
def test_the_umask_decides_who_may_read(umask: int, mode: int, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    former = os.umask(umask)
    try:
        write(path, "first")
        write(path, "again")
    finally:
        os.umask(former)
    assert stat.S_IMODE(path.stat().st_mode) == mode
