"""Forks processes for `warm.Forked`: one server has imported PyTorch alone, one everything.

Those who share it connect to one of two sockets, and each has a fork that serves it.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from select import select
from types import ModuleType
from typing import Any

LEAN = ["torch", "torchvision"]
FULL = [
    "hydra",
    "lightning",
    "matplotlib.pyplot",
    "sklearn.manifold",
    "timm",
    "torchmetrics",
    "wandb",
    "adpt.cli",
    "adpt.cli.check",
    "adpt.cli.entry",
    "adpt.data",
    "adpt.data.folder",
    "adpt.evaluation.evaluation",
    "adpt.evaluation.preparing",
    "adpt.inspection",
    "adpt.inspection.command",
    "adpt.inspection.outputs",
    "adpt.inspection.watching",
    "adpt.methods.training",
    "adpt.page",
    "adpt.pretraining.callbacks",
    "adpt.pretraining.start",
    "adpt.pretraining.trainer_precision",
    "adpt.tracking",
    "adpt.weights.variants",
]


def serve(lean: int, full: int, owner: int) -> None:
    """Serve whoever connects to two sockets, until the owner of the server is gone.

    Args:
        lean: Number of the socket that gives forks of what has imported PyTorch alone.
        full: Of the other one's.
        owner: Of a pipe that the owner holds the other end of.
    """
    gc.disable()  # While modules are imported, nothing is garbage.
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    if owner in select([lean, full, owner], [], [])[0]:
        forget(lean, full)
        return
    import_all(LEAN)
    sys.modules["torch"].set_num_threads(1)
    chosen, other = (lean, full) if os.fork() else (full, lean)
    os.close(other)
    ready = False
    with socket.socket(fileno=chosen) as listening:
        while owner not in select([listening, owner], [], [])[0]:
            if not ready:
                if chosen == full:
                    import_all(FULL)
                    do_once()
                gc.collect()
                gc.freeze()  # What is shared is neither looked through nor copied in each fork.
                gc.enable()
                ready = True
            control = listening.accept()[0]
            if not os.fork():
                listening.close()
                os.close(owner)
                serve_one(control, interrupt)
            control.close()
        forget(chosen)
        os._exit(0)


def forget(*sockets: int) -> None:
    """Remove what sockets listen at, and the folder after the last: their owner may be killed."""
    for number in sockets:
        with suppress(OSError), socket.socket(fileno=number) as listening:
            place = Path(listening.getsockname())
            place.unlink(missing_ok=True)
            place.parent.rmdir()


def serve_one(control: socket.socket, interrupt: Any) -> None:
    """Fork for each message that comes by a socket, until it is closed."""
    while (received := socket.recv_fds(control, 1, maxfds=4))[0]:
        if not os.fork():
            control.close()
            watch(*received[1], interrupt=interrupt)
        for number in received[1]:
            os.close(number)
        with suppress(ChildProcessError):  # Those that watch have ended before, or will soon.
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    os._exit(0)


def import_all(names: list[str]) -> None:
    for name in names:
        importlib.import_module(name)


def do_once() -> None:
    """Do what is remembered or slower the first time, and alike in all forks.

    That is to read and parse configs, to read templates, and to sketch the tests' network.
    """
    sys.path.insert(0, os.path.dirname(__file__))  # noqa: PTH120 - as Python itself names it
    names = ("parsed", "composing", "runs", "small")
    parsed, composing, runs, small = map(importlib.import_module, names)
    sys.path.pop(0)
    parsed.remember()
    small.read_once()
    for primary in ("train", "evaluate", "predict"):
        composing.composed_by_hydra(primary, *runs.TINY[:3])
    with sys.modules["torch"].random.fork_rng():
        sys.modules["adpt.backbones"].build_backbone(**runs.TINY_FIT["backbone"], image_size=48)
    templates = importlib.import_module("adpt.page.render")._TEMPLATES
    for name in templates.list_templates(["j2"]):
        templates.get_template(name)


def watch(connection: int, *streams: int, interrupt: Any) -> None:
    """Fork a process, tell its number and, once it has ended, its status."""
    with socket.socket(fileno=connection) as owner, owner.makefile("rb") as lines:
        asked = json.loads(lines.readline())
        child = os.fork()
        if child:
            for number in streams:
                os.close(number)
            owner.sendall(b"%d\n" % child)
            owner.sendall(b"%d\n" % os.waitpid(child, 0)[1])
            os._exit(0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    signal.signal(signal.SIGINT, interrupt)
    os._exit(work(asked))


def work(asked: dict[str, Any]) -> int:
    """Do what `python <words>` would do, to its end; its exit code."""
    if asked["session"]:
        os.setsid()
    os.chdir(asked["cwd"])
    os.umask(asked["umask"])
    os.environ.clear()
    os.environ.update(asked["env"])
    kind, *words = asked["words"]
    if kind == "-u":
        kind, *words = words
        sys.stdout.reconfigure(write_through=True)
    try:
        run(kind, words)
        code = 0
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
    try:
        sys.stdout.flush()
    except OSError as error:
        print(f"Exception ignored in: {sys.stdout!r}: {error!r}", file=sys.stderr)
        code = 120
    sys.stderr.flush()
    return code % 256


def run(kind: str, words: list[str]) -> None:
    """Run a module (`-m`), code (`-c`) or a file as Python's main module."""
    if kind == "-m":
        name, *sys.argv[1:] = words
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    elif kind == "-c":
        code, *sys.argv[1:] = words
        sys.argv[0] = "-c"
        sys.path.insert(0, "")
        module = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), module.__dict__)  # noqa: S102
    else:
        sys.argv[:] = [kind, *words]
        sys.path.insert(0, str(Path(kind).absolute().parent))
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:]))
