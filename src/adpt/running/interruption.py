"""Signals that ask to stop: a scheduler's SIGTERM, the keyboard's Ctrl-C, submitit's SIGUSR2."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_REQUEUE = getattr(signal, "SIGUSR2", None)
"""What submitit's launcher waits for, where there is one, to put the job into the queue again."""

Handler = Callable[[int, FrameType | None], Any] | int | None


class Stopped(BaseException):
    """A signal has asked to stop.

    It is no `Exception`, so that nothing takes it for a failure after which to go on.

    Args:
        signum: The signal.
        advice: How to go on later.
    """

    def __init__(self, signum: int, advice: str = "") -> None:
        super().__init__(signum, advice)
        self.signum, self.advice = signum, advice

    def __str__(self) -> str:
        return f"Stopped by {signal.Signals(self.signum).name}. {self.advice}".strip()

    @property
    def exit_code(self) -> int:
        """What a shell gives to a process that ended by the signal: 143, or 130 for Ctrl-C."""
        return 128 + self.signum


@contextmanager
def stopping() -> Iterator[None]:
    """For a while, SIGTERM and Ctrl-C raise `Stopped` wherever the main thread is.

    A launcher that handles them already goes on doing so.
    """
    owner = os.getpid()
    untouched = (signal.SIG_DFL, signal.default_int_handler)
    signals = [s for s in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(s) in untouched]

    def stop(signum: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            raise Stopped(signum)
        _end_worker(signum)

    former = _install(signals, stop)
    try:
        yield
    finally:
        _restore(former)


@contextmanager
def advising(advice: Callable[[], str]) -> Iterator[None]:
    """Add to a `Stopped` that passes how to go on later."""
    try:
        yield
    except Stopped as stopped:
        raise Stopped(stopped.signum, advice()) from None


class Notice:
    """Takes signals down while work is under way that should first come to a good point.

    A Ctrl-C after another signal stops at once.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._former: dict[int, Handler] = {}
        self._owner = 0

    def listen(self) -> None:
        """Take signals down from now on."""
        self._owner = os.getpid()
        signals = [signal.SIGTERM, signal.SIGINT]
        if _REQUEUE and callable(signal.getsignal(_REQUEUE)):
            signals.append(_REQUEUE)
        self._former = _install(signals, self._take_down)

    def close(self) -> None:
        """Leave signals to those who had them before."""
        _restore(self._former)

    def stop(self) -> None:
        """Stop, for good.

        Raises:
            Stopped: Always, unless a launcher's own handler ends the process.
        """
        self.close()
        signum = self.signum or signal.SIGTERM  # The signal may have come to another process.
        former = self._former.get(signum)
        if signum == _REQUEUE and callable(former):
            former(signum, None)
        raise Stopped(signum)

    def _take_down(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            _end_worker(signum)
        elif self.signum is None:
            name = signal.Signals(signum).name
            # Not print: the signal may have come in the middle of one.
            os.write(2, f"\nadpt: {name}: saving, then stopping\n".encode())
            self.signum = signum
        elif signum == signal.SIGINT:
            raise Stopped(signum)


_TELLS_SENDERS = hasattr(signal, "sigwaitinfo")
"""Whether a process can learn who sent a signal; macOS and Windows do not say."""


@contextmanager
def starting_workers() -> Iterator[None]:
    """Start processes that are deaf to SIGTERM from their first moment, until `spare_worker`.

    A SIGTERM to this process waits meanwhile.
    """
    if not _TELLS_SENDERS:
        yield
        return
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def spare_worker(_: int = 0) -> None:
    """Let SIGTERM end this process, a loader's worker, only if its owner sends it.

    Schedulers signal all processes of a job, and the owner needs its workers until it has come to
    a good point. An owner that dies takes its workers with it: PyTorch sees to that. It takes
    workers from `starting_workers`.

    Args:
        _: The worker's number, which PyTorch gives.
    """
    owner = multiprocessing.parent_process()
    if owner is None or not _TELLS_SENDERS:
        return
    threading.Thread(target=_obey, args=(owner.pid,), daemon=True).start()


def _obey(owner: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != owner:
        pass
    os._exit(128 + signal.SIGTERM)


def _end_worker(signum: int) -> None:
    """End a forked process, which has the handlers of its owner; Ctrl-C ends it with its owner."""
    if signum == signal.SIGTERM:
        os._exit(128 + signum)


def _install(signals: Any, handler: Any) -> dict[int, Handler]:
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {signum: signal.signal(signum, handler) for signum in signals}


def _restore(former: dict[int, Handler]) -> None:
    for signum, handler in former.items():
        signal.signal(signum, handler)
