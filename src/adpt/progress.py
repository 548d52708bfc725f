"""One line of progress for work of several steps."""

from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)


class StepBar:
    """A progress bar that shows what is being done; a call moves it.

    Args:
        title: What the bar is for.
        shown: False shows nothing, as in all processes but the first.
    """

    def __init__(self, title: str, shown: bool = True) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            disable=not shown,
        )
        self._title = title
        self._task = self._bar.add_task(title, total=None)

    def __enter__(self) -> "StepBar":
        self._bar.start()
        return self

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of `what` are done."""
        self._bar.update(
            self._task, description=f"{self._title}: {what}", completed=done, total=total
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._bar.update(self._task, description=f"{self._title}: done", completed=1, total=1)
        self._bar.stop()
