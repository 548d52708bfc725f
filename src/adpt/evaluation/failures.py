"""Failures of a run's parts, kept until its end."""

from collections.abc import Sequence
from dataclasses import dataclass

from adpt.errors import UserError


@dataclass(frozen=True)
class Failure:
    """Results that could not be had, and why."""

    where: str
    error: Exception

    @property
    def message(self) -> str:
        """The error's message, or its name where it has none."""
        return str(self.error) or type(self.error).__name__


def raise_failures(failures: Sequence[Failure]) -> None:
    """Say what failed, if anything did.

    Raises:
        UserError: Something failed; the message names all of it.
    """
    if not failures:
        return
    where: dict[str, list[str]] = {}
    for one in failures:
        where.setdefault(one.message, []).append(one.where)
    lines = [f"{'; '.join(steps)}: {message}" for message, steps in where.items()]
    raise UserError(
        f"{len(failures)} of the steps failed; all other results are recorded.\n" + "\n".join(lines)
    )
