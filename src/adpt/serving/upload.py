"""A picture that comes over the network: into a file, within limits, never whole in memory."""

import asyncio
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fastapi import HTTPException, Request

_OPEN_FILES = Path("/proc/self/fd")
"""Where Linux has a process's files, those without a name too."""

_HOW = (
    "Send the picture itself: curl --data-binary @photo.png -H 'Content-Type: image/png' <address>."
)


@dataclass(frozen=True)
class Limits:
    """How much a server takes in.

    Attributes:
        queue: Pictures that are arriving, waiting or in work.
        megabytes: Of a picture's file.
        seconds: In which a picture has to arrive.
    """

    queue: int = 32
    megabytes: float = 64.0
    seconds: float = 30.0


@contextmanager
def picture_file() -> Iterator[tuple[IO[bytes], Path]]:
    """An empty file and a path to open it by; afterwards it is gone.

    Where a file needs no name, it is gone after a kill too.
    """
    if _OPEN_FILES.is_dir():
        with tempfile.TemporaryFile() as file:
            yield file, _OPEN_FILES / str(file.fileno())
    else:
        with tempfile.TemporaryDirectory(prefix="adpt-") as folder:
            path = Path(folder) / "picture"
            with path.open("wb") as file:
                yield file, path


def check_head(request: Request, limits: Limits) -> None:
    """Refuse a request by its head alone.

    Raises:
        HTTPException: 415 for what is no picture, 413 for a picture that is too large.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not kind.startswith("image/") and kind != "application/octet-stream":
        said = repr(kind[:80]) if kind else "missing"
        raise HTTPException(415, f"The Content-Type is {said}, not image/... {_HOW}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, f"The body has a Content-Encoding. {_HOW}")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.megabytes * 1e6:
        raise _too_large(limits)


async def receive(request: Request, file: IO[bytes], limits: Limits) -> None:
    """Write a request's body into a file as it comes.

    Raises:
        HTTPException: 413 as soon as it is too large, 408 when it takes too long, 507 where there
            is no room on the disk.
        ClientDisconnect: The client went away.
    """
    left = math.floor(limits.megabytes * 1e6)
    try:
        async with asyncio.timeout(limits.seconds):
            async for part in request.stream():
                left -= len(part)
                if left < 0:
                    raise _too_large(limits)
                file.write(part)
        file.flush()
    except TimeoutError as error:
        told = f"The picture did not arrive within {limits.seconds:g} s."
        raise HTTPException(408, told) from error
    except OSError as error:
        raise HTTPException(507, f"The picture cannot be kept: {error.strerror}.") from error


def _too_large(limits: Limits) -> HTTPException:
    return HTTPException(413, f"The picture takes more than max_megabytes={limits.megabytes:g}.")
