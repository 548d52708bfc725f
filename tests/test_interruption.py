"""Signals that come to all processes of a job at once."""

import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import drawn
import spared
import warm
from adpt.data import Folder
from adpt.errors import chain_of
from adpt.running.interruption import (
    Stopped,
    advising,
    starting_workers,
    stopped_behind,
    stopping,
)


def signalled(pid: int, name: str = "TERM") -> None:
    """Send a signal from a process that is not the owner, as a scheduler or a terminal does."""
    subprocess.run(["kill", f"-{name}", str(pid)], check=True)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_ends_when_its_owner_says_so_and_not_by_others(method: str) -> None:
    context = multiprocessing.get_context(method)
    ready = context.Event()
    worker = context.Process(target=spared.wait, args=(ready,), daemon=True)
    with starting_workers():
        worker.start()
    # At once: it may not have come to anything of its own yet.
    signalled(worker.pid)
    assert ready.wait(60)
    signalled(worker.pid)
    signalled(worker.pid, "INT")
    worker.join(0.5)
    assert worker.is_alive()
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0


def test_a_loader_survives_the_signal_that_its_owner_stops_by(tmp_path: Path) -> None:
    root = drawn.draw_folder(tmp_path / "own", ("key",))
    data = Folder(root, image_size=48, batch_size=1, num_workers=2)
    data.setup()
    with stopping():
        batches = iter(data.loader(data.samples))
        first = next(batches)
        workers = multiprocessing.active_children()
        assert workers
        for worker in workers:
            signalled(worker.pid)
            signalled(worker.pid, "INT")
        time.sleep(0.3)
        images = torch.cat([first.image, *(batch.image for batch in batches)])
    assert len(images) == len(data.samples)


HOLDING = """
import os, signal, sys
from adpt.data import Folder
from adpt.running.interruption import Stopped, stopping

data = Folder(sys.argv[1], image_size=48, batch_size=1, num_workers=1)
data.setup()
loader = iter(data.loader(data.samples))  # Held until Python ends, as a trainer may be.
try:
    with stopping():
        next(loader)
        os.kill(os.getpid(), signal.SIGTERM)
except Stopped as stopped:
    sys.exit(stopped.exit_code)
"""


def test_a_process_that_holds_a_loader_ends_with_its_workers(tmp_path: Path) -> None:
    # Workers that only ignored SIGTERM would be waited for, for ever.
    root = drawn.draw_folder(tmp_path / "own", ("key",))
    done = warm.run(
        [sys.executable, "-c", HOLDING, str(root)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == ""


ENDING = """
import atexit, os, signal, sys
from adpt.running.interruption import stopping

@atexit.register
def end() -> None:
    for _ in range(int(sys.argv[2])):
        os.kill(os.getpid(), signal.Signals[sys.argv[1]])
    print("ended")

for _ in range(2):  # As the jobs of a sweep do.
    with stopping():
        pass
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_process_that_has_done_its_work_passes_over_one_signal_while_it_ends(
    name: str, times: int
) -> None:
    done = warm.run(
        [sys.executable, "-c", ENDING, name, str(times)], capture_output=True, text=True
    )
    assert done.returncode == (0 if times == 1 else -signal.Signals[name])
    assert done.stdout == ("ended\n" if times == 1 else "")
    assert done.stderr == ""


TAKEN_APART = """
import os, signal, sys
from adpt.running.interruption import stopping

class Last:
    def __del__(self, kill=os.kill, pid=os.getpid(), signum=signal.Signals[sys.argv[1]]) -> None:
        kill(pid, signum)

if sys.argv[2] == "stopping":
    with stopping():
        pass
sys.last = Last()
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("inside", ["stopping", "nothing"])
def test_a_signal_while_python_takes_its_modules_apart_changes_no_exit_code(
    name: str, inside: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TAKEN_APART, name, inside], capture_output=True, text=True
    )
    # Where there was no work of adpt's it ends as without adpt.
    assert done.returncode == (0 if inside == "stopping" else -signal.Signals[name])
    assert done.stderr == ""


HANDLED = """
import atexit, os, signal
from adpt.running.interruption import stopping

@atexit.register
def end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)

signal.signal(signal.SIGTERM, lambda *_: print("mine"))
with stopping():
    pass
"""


def test_a_handler_of_ones_own_stays_while_python_ends() -> None:
    done = warm.run([sys.executable, "-c", HANDLED], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "mine\n", "")


OUTSIDE = """
import os, signal
from adpt.cli.entry import command

@command("report")
def main(config) -> None:
    os.kill(os.getpid(), signal.SIGINT)

main()
"""


def test_a_signal_outside_of_a_job_ends_a_command_with_one_line(tmp_path: Path) -> None:
    done = warm.run([sys.executable, "-c", OUTSIDE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == "\nadpt: Stopped by SIGINT.\n"


HALF_MADE = """
import os, signal, sys
from adpt.running.interruption import Stopped, advising, stopping

def work() -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        raise AttributeError("half made")

try:
    with stopping():
        if sys.argv[1]:
            with advising(lambda: sys.argv[1]):
                work()
        else:
            work()
except Stopped as stopped:
    print(stopped)
"""


@pytest.mark.parametrize("advice", ["", "Go on so."])
def test_an_error_that_a_signal_brought_about_is_no_error(advice: str) -> None:
    done = warm.run([sys.executable, "-c", HALF_MADE, advice], capture_output=True, text=True)
    assert done.stdout == f"Stopped by SIGTERM. {advice}".strip() + "\n"
    assert (done.returncode, done.stderr) == (0, "")


def test_errors_that_came_of_each_other_are_looked_through_once() -> None:
    try:
        raise ValueError("a")
    except ValueError as first:
        a = first
    try:
        raise KeyError("b")
    except KeyError as second:
        b = second
    a.__cause__, b.__context__ = b, a
    assert list(chain_of(a)) == [a, b]
    assert stopped_behind(a) is None


def test_a_stop_that_passes_says_how_to_go_on() -> None:
    with pytest.raises(Stopped, match="Go on so"), advising(lambda: "Go on so."):
        raise Stopped(signal.SIGTERM)


def test_an_error_that_was_raised_from_another_while_stopping_is_no_error() -> None:
    cause = ValueError("of a stop")
    cause.__context__ = Stopped(signal.SIGTERM)
    with pytest.raises(Stopped, match="Go on so"), advising(lambda: "Go on so."):
        raise AttributeError("half made") from cause


def test_an_error_that_no_signal_brought_about_stays_one() -> None:
    with pytest.raises(AttributeError, match="own"), stopping(), advising(lambda: "Go on so."):
        raise AttributeError("own")


GIVEN_BACK = """
import os, signal, sys, time
from adpt.running.interruption import Stopped, stopping

class Held:
    def __del__(self) -> None:
        if len(sys.argv) > 1:
            raise ValueError("own")
        os.kill(os.getpid(), signal.SIGTERM)

try:
    with stopping():
        Held()
        time.sleep(0 if len(sys.argv) > 1 else 60)
except Stopped as stopped:
    print(stopped)
"""


def test_a_signal_while_an_object_is_given_back_is_not_lost() -> None:
    # Python takes no exception there: it would print a trace and go on.
    done = warm.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Stopped by SIGTERM.\n", "")


TOLD = """
import os, signal, sys, time
from adpt.running.interruption import Stopped, stopping

def tell(ignored) -> None:
    print(ignored.exc_value)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.05)  # Long enough for it to come again.

class Held:
    def __del__(self) -> None:
        raise ValueError("own")

sys.unraisablehook = tell
try:
    with stopping():
        Held()
        time.sleep(60)
except Stopped as stopped:
    print(stopped)
print(sys.unraisablehook is tell)
"""


def test_a_signal_while_such_an_error_is_told_is_not_lost() -> None:
    done = warm.run([sys.executable, "-c", TOLD], capture_output=True, text=True, timeout=30)
    assert done.stdout == "own\nStopped by SIGTERM.\nTrue\n"
    assert (done.returncode, done.stderr) == (0, "")


def test_other_errors_while_an_object_is_given_back_are_told() -> None:
    done = warm.run([sys.executable, "-c", GIVEN_BACK, "own"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert "ValueError: own" in done.stderr
