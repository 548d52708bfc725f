"""Signals that ask to stop: a scheduler's SIGTERM, the keyboard's Ctrl-C, submitit's SIGUSR2."""

import _thread
import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from adpt.errors import chain_of

_REQUEUE = getattr(signal, "SIGUSR2", None)
"""The signal at which submitit's launcher, if there is one, puts the job into the queue again."""

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
        """A shell's code for a process that ended by the signal: 143, or 130 for Ctrl-C."""
        return 128 + self.signum


@contextmanager
def stopping() -> Iterator[None]:
    """For a while, SIGTERM and Ctrl-C raise `Stopped` wherever the main thread is.

    It comes in the midst of other people's code, too. An error that it brings about there, since
    something was left half made, does not take its place; where Python takes no exception, in a
    `__del__`, it comes a moment later.

    A launcher that handles signals already goes on doing so. While Python ends, afterwards, the
    first of them is passed over, as all work is done, and a second one ends the process, until
    Python takes its modules apart: then all are passed over.
    """
    in_hook = False

    def stop(signum: int, frame: FrameType | None) -> None:
        if in_hook:
            _come_later(signum)
        else:
            raise Stopped(signum)

    def tell(ignored: "sys.UnraisableHookArgs") -> None:
        nonlocal in_hook
        in_hook = True  # Python takes no exception here, either.
        try:
            stopped = stopped_behind(ignored.exc_value) if ignored.exc_value else None
            if stopped:
                _come_later(stopped.signum)
            else:
                former_hook(ignored)
        finally:
            in_hook = False

    former = _install(_unhandled(), stop)
    former_hook = sys.unraisablehook
    if former:
        sys.unraisablehook = tell
    try:
        yield
    except Exception as error:
        stopped = stopped_behind(error)
        if stopped:
            raise stopped from None
        raise
    finally:
        _restore(former)
        sys.unraisablehook = former_hook
        if former:
            atexit.unregister(_pass_over_signals)
            atexit.register(_pass_over_signals)  # Last, so that it is the first thing to happen.


def _come_later(signum: int) -> None:
    def come() -> None:
        time.sleep(0.01)
        os.kill(os.getpid(), signum)

    # Not threading.Thread, which takes locks and waits: a signal may come in the middle of one.
    _thread.start_new_thread(come, ())


def _pass_over_signals() -> None:
    _install(_unhandled(), _pass_over)


def _pass_over(signum: int, frame: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_DFL)


@atexit.register  # First, so that it is the last thing to happen.
def _ignore_signals() -> None:
    """Pass signals over while no handler runs any more: Python has given them up by then."""
    signals = (signal.SIGTERM, signal.SIGINT)
    _install([s for s in signals if signal.getsignal(s) is _pass_over], signal.SIG_IGN)


def _unhandled() -> list[signal.Signals]:
    """The signals that nobody handles or ignores."""
    as_they_come = (signal.SIG_DFL, signal.default_int_handler)
    return [s for s in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(s) in as_they_come]


def stopped_behind(error: BaseException) -> Stopped | None:
    """The `Stopped` that an error is, or came of; None if it has nothing to do with one."""
    return next((cause for cause in chain_of(error) if isinstance(cause, Stopped)), None)


@contextmanager
def advising(advice: Callable[[], str]) -> Iterator[None]:
    """Add to a `Stopped` that passes, or that an error came of, how to go on later."""
    try:
        yield
    except BaseException as error:
        stopped = stopped_behind(error)
        if stopped:
            raise Stopped(stopped.signum, advice()) from None
        raise


class Notice:
    """Takes signals down while work is under way that should first come to a good point.

    A Ctrl-C after another signal stops at once.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._former: dict[int, Handler] = {}

    def listen(self) -> None:
        """Take signals down from now on."""
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
        if self.signum is None:
            name = signal.Signals(signum).name
            # Not print: the signal may have come in the middle of one.
            os.write(2, f"\nadpt: {name}: saving, then stopping\n".encode())
            self.signum = signum
        elif signum == signal.SIGINT:
            raise Stopped(signum)


# Schedulers and terminals signal all processes of a job, and the owner of a loader's workers needs
# them until it has come to a good point. To ignore SIGTERM is not enough: a process that ends while
# it holds a loader ends its workers by SIGTERM and waits for them, and would wait for ever. So the
# signals are blocked from a worker's first moment, and a thread waits for the owner's.


@contextmanager
def starting_workers() -> Iterator[None]:
    """Start processes that are deaf to SIGTERM and Ctrl-C; these wait for this process meanwhile.

    Where a process cannot learn who sent a signal, on macOS and Windows, nothing is done.
    """
    if not hasattr(signal, "sigwaitinfo"):
        yield
        return
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def spare_worker(_: int = 0) -> None:
    """Let SIGTERM end this process, one of `starting_workers`, only if its owner sends it.

    Args:
        _: The worker's number, which PyTorch gives.
    """
    owner = multiprocessing.parent_process()
    if owner is not None and hasattr(signal, "sigwaitinfo"):
        threading.Thread(target=_obey, args=(owner.pid,), daemon=True).start()


def _obey(owner: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != owner:
        pass
    os._exit(0)  # As PyTorch's workers end; of any other code it would complain.


def _install(signals: Any, handler: Any) -> dict[int, Handler]:
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {signum: signal.signal(signum, handler) for signum in signals}


def _restore(former: dict[int, Handler]) -> None:
    for signum, handler in former.items():
        signal.signal(signum, handler)
