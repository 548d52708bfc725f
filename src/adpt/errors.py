"""Errors a user can mend: entries print their message alone, without a stack trace."""

from collections.abc import Iterator


class UserError(Exception):
    """Something the user gave or has on disk is not usable; the message says what to do next."""


class DataError(UserError):
    """A data set on disk is not what it should be."""


class BadImageError(DataError):
    """One image file cannot be used; the message names it and its class."""


class OutsideError(DataError):
    """A list of a data set names a file outside the set's folder."""


class WeightsError(UserError):
    """A weights file is missing, damaged or made for something else."""


class SweepError(UserError):
    """A mistake in what a sweep was asked for: none of its jobs can run."""


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it came of in turn; none of them twice, for they may form a circle."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


NO_EMBEDDED = (
    "The backbone embedded is no more: backbone=efficientnet_lite0 needs no download either, and "
    "finds far more. Pretrain, fit and evaluate again with that; whatever was made with embedded "
    "serves adpt 0.1.0 alone."
)
"""Remedy where a command or a file names the backbone that adpt brought along once."""
