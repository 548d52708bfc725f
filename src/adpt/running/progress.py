"""One line of progress for work of several steps."""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich import progress as rich_progress

log = logging.getLogger(__name__)

_SECONDS = 10.0
"""Between two lines of a log that a terminal's bar stands in for."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def no_progress(what: str, done: int, total: int) -> None:
    """Show nothing."""


class StepBar:
    """A progress bar that shows what is being done; a call moves it, and the first one shows it.

    Args:
        title: What the bar is for.
        shown: False shows nothing, as in all processes but the first.
        logged: True reports to the log where there is no terminal: every new step, what is done of
            it every ten seconds, and of one that takes longer that it goes on.
    """

    def __init__(self, title: str, shown: bool = True, logged: bool = False) -> None:
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeElapsedColumn(),
            disable=not shown,
        )
        self._title = title
        self._logged = logged and shown and not self._bar.console.is_terminal
        self._what, self._said, self._begun = "", 0.0, 0.0
        self._ended = threading.Event()
        self._task = self._bar.add_task(title, total=None)

    def __enter__(self) -> "StepBar":
        if self._logged:
            threading.Thread(target=self._go_on, daemon=True).start()
        return self

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of `what` are done."""
        self._bar.start()
        self._bar.update(
            self._task, description=f"{self._title}: {what}", completed=done, total=total
        )
        now = time.monotonic()
        if self._logged and (what != self._what or now - self._said >= _SECONDS):
            log.info("%s: %s, %d of %d", self._title, what, done, total)
            self._begun = now if what != self._what else self._begun
            self._what, self._said = what, now

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if not self._bar.live.is_started:
            return
        if error is None:
            self._bar.update(self._task, description=f"{self._title}: done", completed=1, total=1)
        self._bar.stop()

    def _go_on(self) -> None:
        """Say of a step that says nothing itself that it goes on."""
        while not self._ended.wait(_SECONDS):
            now = time.monotonic()
            if self._what and now - self._said >= _SECONDS:
                log.info("%s: %s, %.0f s so far", self._title, self._what, now - self._begun)
                self._said = now
