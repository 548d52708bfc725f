"""One process at a time works in an output folder."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from adpt.errors import UserError
from adpt.running.work_lock import LOCK, at_work
from adpt.train import train
from runs import training

HOLD = """
import os, sys, time
from pathlib import Path
from adpt.running.work_lock import at_work
with at_work(Path(sys.argv[1])):
    if sys.argv[2:] and not os.fork():
        time.sleep(60)  # As a loader's worker, which lives on for a while.
    print("at work", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other(folder: Path, *words: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Another process at work in a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "at work\n"
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_second_process_is_refused_with_the_first_one_s_name(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with other(folder) as first:
        with pytest.raises(UserError) as raised, at_work(folder):
            pass
        with at_work(tmp_path / "another"):
            assert (tmp_path / "another" / LOCK).exists()
        assert (folder / LOCK).exists()
        told = str(raised.value)
        assert told.startswith(f"Process {first.pid} on {socket.gethostname()} (since 2")
        assert f"is at work in {folder}; two would do all work twice." in told
        assert "hydra.run.dir=" in told
        first.communicate("")
    assert list(folder.iterdir()) == []
    for _ in range(2):
        with at_work(folder):
            assert f"Process {os.getpid()} " in (folder / LOCK).read_text()
    assert list(folder.iterdir()) == []


def test_a_killed_process_holds_no_folder_and_neither_do_its_workers(tmp_path: Path) -> None:
    with other(tmp_path, "with a worker") as first:
        first.kill()
        first.wait()
        assert str(first.pid) in (tmp_path / LOCK).read_text()
        with at_work(tmp_path):
            assert str(os.getpid()) in (tmp_path / LOCK).read_text()
    assert list(tmp_path.iterdir()) == []


def test_an_error_lets_go_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), at_work(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_the_processes_of_one_run_work_together(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    with other(tmp_path, **{name: "0"}), at_work(tmp_path):
        pass
    monkeypatch.setenv(name, "0")
    with other(tmp_path, **{name: "0"}), pytest.raises(UserError), at_work(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_locks_all_goes_on(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with at_work(tmp_path):
        worked = True
    assert worked


def test_a_folder_that_cannot_be_written_is_told_by_who_writes_into_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with at_work(tmp_path / "file" / "run"):
        worked = True
    assert worked


def test_a_training_is_refused_where_another_process_is_at_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with other(tmp_path) as first, pytest.raises(SystemExit):
        train(training(tmp_path, "data=folder", "data.root=nowhere"))
    assert f"adpt: Process {first.pid} on" in capsys.readouterr().err
