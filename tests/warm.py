"""Commands in forks of a process that has imported everything: a fork takes no time, torch does."""

import atexit
import json
import os
import signal
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

_MAY_DIFFER = ("ADPT_", "COLUMNS", "OMP_NUM_THREADS", "PYTEST_", "WANDB_")
"""Variables that nothing reads while it is imported."""

_SERVER = """
import atexit, gc, json, os, runpy, sys, threading, traceback
import hydra, lightning, matplotlib.pyplot, sklearn.manifold, timm, torch, torchmetrics, wandb
import adpt.cli, adpt.evaluation, adpt.inspection, adpt.page, adpt.pretraining, adpt.tracking
torch.set_num_threads(1)
gc.collect()
gc.freeze()  # What is shared is neither looked through nor copied in each fork.
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child:
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in enumerate(("out", "err"), 1):
        os.dup2(os.open(asked[name], os.O_WRONLY), number)
    os.chdir(asked["cwd"])
    os.umask(asked["umask"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv[1:] = asked["words"]
    sys.path.insert(0, asked["cwd"])
    code = 0
    try:
        runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0 if left.code is None else 1
        if not isinstance(left.code, int | None):
            print(left.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    # As at the end of any Python, but for taking the modules apart, which takes longest.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
os._exit(0)
"""


def suits(environment: dict[str, str]) -> bool:
    """True if a command may run in a fork: its environment is that of these tests, or nearly."""
    mine = _first_environment()
    differ = {name for name in mine.keys() | environment if mine.get(name) != environment.get(name)}
    return all(name.startswith(_MAY_DIFFER) for name in differ)


def run(
    module: str, words: list[str], cwd: Path, environment: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `python -m <module>` with these words, as `subprocess.run` would."""
    server = _server()
    assert server.stdin
    assert server.stdout
    with TemporaryDirectory() as folder:
        out, err = (Path(folder, name) for name in ("out", "err"))
        out.touch()
        err.touch()
        umask = os.umask(0)
        os.umask(umask)
        asked = {
            "module": module, "words": words, "cwd": str(cwd), "env": environment,
            "umask": umask, "out": str(out), "err": str(err),
        }  # fmt: skip
        print(json.dumps(asked), file=server.stdin, flush=True)
        child = int(server.stdout.readline())
        late = Timer(timeout, os.kill, [child, signal.SIGKILL])
        late.start()
        code = int(server.stdout.readline())
        in_time = not late.finished.is_set()
        late.cancel()
        if not in_time:
            raise subprocess.TimeoutExpired([module, *words], timeout)
        said, complained = (path.read_text(errors="surrogateescape") for path in (out, err))
    return subprocess.CompletedProcess([module, *words], code, said, complained)


@lru_cache
def _first_environment() -> dict[str, str]:
    return dict(os.environ)


@lru_cache
def _server() -> "subprocess.Popen[str]":
    _first_environment()
    server = subprocess.Popen(
        [sys.executable, "-P", "-c", _SERVER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    atexit.register(server.communicate)
    return server
