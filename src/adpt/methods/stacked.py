"""Rows of many batches one below the other: in memory, or in a temporary file if they are many."""

import tempfile
from collections.abc import Iterable
from itertools import chain
from typing import TypeAlias

import torch
from torch import Tensor

from adpt.errors import UserError

HELD_BYTES = 2**30
"""Rows that take more lie in a file."""
_ROWS = 2**10


class FileRows:
    """Rows (N, D), float32, in a temporary file that goes with this object.

    They are read like a tensor's: by a slice, or by indices, which may repeat. Only what is asked
    for is in memory.

    Args:
        width: D.

    Raises:
        UserError: The file cannot be made.
    """

    def __init__(self, width: int) -> None:
        self.shape = torch.Size([0, width])
        self.device = torch.device("cpu")
        self._bytes = 4 * width
        try:
            self._file = tempfile.TemporaryFile(prefix="adpt-", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise UserError(
                "Patches of the training images take more than 1 GB, and no temporary file can be"
                f" made for them: {error}. Set TMPDIR to a folder that can be written to, or fit on"
                " fewer images."
            ) from error

    def __len__(self) -> int:
        return self.shape[0]

    def append(self, rows: Tensor) -> None:
        """Write rows (n, D) below the others.

        Raises:
            UserError: The file cannot be written.
        """
        left = _bytes_of(rows.contiguous())
        self._file.seek(len(self) * self._bytes)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise UserError(
                f"Patches of the training images could not be written to {tempfile.gettempdir()}:"
                f" {error}. Set TMPDIR to a folder with room for them, or fit on fewer images."
            ) from error
        self.shape = torch.Size([len(self) + len(rows), self.shape[1]])

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Some rows, (n, D)."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            found = torch.empty(max(0, stop - start), self.shape[1])
            self._read(start, _bytes_of(found))
            return found
        found = torch.empty(len(rows), self.shape[1])
        places = _bytes_of(found)
        for place, row in enumerate(rows.tolist()):
            self._read(row, places[place * self._bytes : (place + 1) * self._bytes])
        return found

    def mean(self, dim: int) -> Tensor:
        """The mean row, (D,); `dim` is 0, as of a tensor."""
        parts = [part.sum(dim, dtype=torch.float64) for part in self.split(_ROWS)]
        return (torch.stack(parts).sum(0) / len(self)).float()

    def split(self, count: int) -> Iterable[Tensor]:
        """All rows, `count` at a time."""
        return (self[start : start + count] for start in range(0, len(self), count))

    def _read(self, start: int, left: memoryview) -> None:
        """Fill memory with rows from `start` on."""
        self._file.seek(start * self._bytes)
        while left:
            got = self._file.readinto(left)
            if not got:
                raise OSError(f"A temporary file in {tempfile.gettempdir()} was cut short.")
            left = left[got:]


def _bytes_of(rows: Tensor) -> memoryview:
    """The memory of contiguous rows, byte by byte."""
    return rows.flatten().view(torch.uint8).numpy().data


Rows: TypeAlias = Tensor | FileRows


def stacked(parts: Iterable[Tensor]) -> Rows:
    """Rows of one or more parts (n, D), float32, in their order.

    On a CPU no second copy stands beside them, and those of more than 1 GB lie in a file.
    """
    coming = iter(parts)
    first = next(coming)
    if first.device.type != "cpu":
        return torch.cat([first, *coming])
    width = first.shape[1]
    with torch.inference_mode(False):
        held = torch.empty(max(1, HELD_BYTES // (4 * width)), width)  # Taken as it is filled.
    count, file = 0, None
    for part in chain([first], coming):
        if file is None and count + len(part) > len(held):
            file = FileRows(width)
            file.append(held[:count])
            held = held.new_empty(0, width)
        if file is None:
            held[count : count + len(part)] = part
            count += len(part)
        else:
            file.append(part)
    return held[:count] if file is None else file
