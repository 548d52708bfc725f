"""Failures of a run's parts, kept until its end."""

from collections.abc import Sequence
from dataclasses import dataclass

from adpt.errors import UserError


@dataclass(frozen=True)
class Failure:
    """Results that could not be had, and why."""

    where: str
    error: Exception


def raise_failures(failures: Sequence[Failure]) -> None:
    """Say what failed, if anything did.

    Raises:
        UserError: Something failed; the message names all of it.
    """
    if not failures:
        return
    lines = [f"{one.where}: {one.error or type(one.error).__name__}" for one in failures]
    raise UserError(
        f"{len(lines)} of the steps failed; all other results are recorded.\n" + "\n".join(lines)
    )
