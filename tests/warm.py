"""Python in forks of a process that has imported everything: a fork takes no time, torch does."""

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from select import select
from subprocess import PIPE, CompletedProcess
from typing import Any

_MAY_DIFFER = ("ADPT_", "COLUMNS", "HOME", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "NETRC",
               "OMP_NUM_THREADS", "PL_", "PYTEST_", "WANDB_")  # fmt: skip
"""Variables that nothing reads while it is imported, and those that scikit-learn's import sets."""
_SHARED = "ADPT_WARM_SERVER"
"""The variable that names the folder of a server's sockets to the processes that share it."""


class Forked(subprocess.Popen[Any]):
    """`subprocess.Popen([sys.executable, ...])`, but in a fork.

    Arguments, environment, folder, streams, signals and exit code are as those of a process. It is
    a process of its own where its environment decides over what is imported.

    Args:
        words: The interpreter and its words: `-u` or not, then `-m`, `-c` or a file, and what
            these take.
        lean: Fork a process that has imported nothing but PyTorch: for tests of imports, and of
            variables that are read by them.
        options: Others of `Popen`: `cwd`, `env`, streams, `text`, `start_new_session`.
    """

    def __init__(self, words: Sequence[str | Path], lean: bool = False, **options: Any) -> None:
        self._lean = lean
        self._watch: socket.socket | None = None
        super().__init__(list(words), **options)

    def _execute_child(self, args: list[Any], *others: Any) -> None:
        cwd, env, pipes, session = others[4], others[5], others[9:15], others[20]
        env = dict(os.environ if env is None else env)
        assert args[0] == sys.executable
        if not (self._lean or _suits(env)):
            super()._execute_child(args, *others)
            return
        umask = os.umask(0)
        os.umask(umask)
        asked = {
            "words": [*map(os.fspath, args[1:])], "cwd": os.fspath(cwd or Path.cwd()),
            "env": env, "umask": umask, "session": session,
        }  # fmt: skip
        streams = [
            number if pipe == -1 else pipe
            for number, pipe in enumerate((pipes[0], pipes[3], pipes[5]))
        ]
        self._watch, given = socket.socketpair()
        with given:
            socket.send_fds(_servers()[self._lean], [b"."], [given.fileno(), *streams])
        self._watch.sendall(json.dumps(asked).encode() + b"\n")
        self._told = self._watch.makefile("rb")
        self.pid = int(self._told.readline())
        self._child_created = True
        self._close_pipe_fds(*pipes)

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._watch is None:
            return super()._try_wait(wait_flags)
        if wait_flags & os.WNOHANG and not select([self._watch], [], [], 0)[0]:
            return 0, 0
        status = int(self._told.readline())
        self._told.close()
        self._watch.close()
        return self.pid, status

    def _internal_poll(self, *others: Any, **named: Any) -> int | None:
        if self._watch is None:
            return super()._internal_poll(*others, **named)
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                self._handle_exitstatus(status)
        return self.returncode


def run(
    words: Sequence[str | Path],
    *,
    input: str | bytes | None = None,  # noqa: A002 - as subprocess calls it
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Any,
) -> CompletedProcess[Any]:
    """`subprocess.run` of `Forked`."""
    if capture_output:
        options |= {"stdout": PIPE, "stderr": PIPE}
    if input is not None:
        options["stdin"] = PIPE
    with Forked(words, **options) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    done = CompletedProcess(process.args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


def _suits(environment: dict[str, str]) -> bool:
    """True if a command may run in a fork: its environment is that of these tests, or nearly."""
    mine = _first_environment()
    differ = {name for name in mine.keys() | environment if mine.get(name) != environment.get(name)}
    return all(name.startswith(_MAY_DIFFER) for name in differ)


@lru_cache
def _first_environment() -> dict[str, str]:
    return dict(os.environ)


def listen() -> None:
    """Let the processes that are started from here share a server, which waits to be asked."""
    os.environ[_SHARED] = _started()


@lru_cache
def _servers() -> tuple[socket.socket, socket.socket]:
    """Sockets to a server that has imported everything, and to a lean one."""
    folder = os.environ.get(_SHARED) or _started()
    full, lean = (socket.socket(socket.AF_UNIX) for _ in range(2))
    full.connect(f"{folder}/full")
    lean.connect(f"{folder}/lean")
    return full, lean


def _started() -> str:
    """Start a server that ends with this process; the folder of the sockets that it listens at."""
    _first_environment()
    folder = tempfile.mkdtemp(prefix="adpt")
    told, owner = os.pipe()
    with socket.socket(socket.AF_UNIX) as lean, socket.socket(socket.AF_UNIX) as full:
        for name, listening in (("lean", lean), ("full", full)):
            listening.bind(f"{folder}/{name}")
            listening.listen()
        numbers = [lean.fileno(), full.fileno(), told]
        server = subprocess.Popen(
            [sys.executable, "-P", Path(__file__).with_name("warm_server.py"), *map(str, numbers)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=numbers,
            env={**_first_environment(), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    os.close(told)

    def end() -> None:
        os.close(owner)
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)  # The server's other half removes it too.

    atexit.register(end)
    return folder
