"""Features on disk, one file an image, found again by what decides over them."""

import hashlib
import json
import logging
import os
import shutil
import stat
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from adpt.errors import UserError
from adpt.running.whole_files import PART, replacing

log = logging.getLogger(__name__)

SUFFIX = ".features"
"""Ending of a file: the SHA-256 of what follows, and what it is for; then tensors as safetensors
has them."""
_DIGEST = 32
"""Bytes of a SHA-256."""
_LOOK_AGAIN = 60.0
"""Seconds for which a folder's size is taken as known; other processes may write into it."""


class MissingFeaturesError(LookupError):
    """Features are not in the cache, or no longer.

    Args:
        key: The image's.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class CacheFullError(UserError):
    """Features could not be written to the cache; they can still be held in memory."""


class FeatureCache:
    """A folder of features, bounded in size: those not used for longest make room for new ones.

    Several processes may use a folder at the same time: files appear whole or not at all, and of
    two that write the same one either will do. A file that another process removed counts as
    missing, and so does a damaged one.

    Args:
        folder: Where the files lie.
        max_gb: Largest size of all files together in GB (10^9 bytes). Processes that write at the
            same time may exceed it by what each of them adds in a minute, or in a call.

    Raises:
        UserError: `max_gb` is not positive.
    """

    decides: Mapping[str, Any]
    """Decides over all features that are kept, beside what their space is asked for with."""

    def __init__(self, folder: str | Path, max_gb: float = 30.0) -> None:
        if not max_gb > 0:
            raise UserError(f"cache.max_gb={max_gb} must be above 0; cache=null uses no cache.")
        self.folder = Path(folder).expanduser()
        self.max_gb = max_gb
        self.decides = {}
        self._look = _Look()

    def where(self, decides: Mapping[str, Any]) -> "FeatureCache":
        """The same folder, for features over which this decides, too."""
        cache = FeatureCache(self.folder, self.max_gb)
        cache.decides = {**self.decides, **decides}
        cache._look = self._look
        return cache

    def space(self, dtype: torch.dtype = torch.float32, **decides: Any) -> "FeatureSpace":
        """The part of the cache for features of one kind.

        Args:
            dtype: Holds each number as it is.
            decides: Whatever decides over the features beside the image: names, numbers, hashes.
        """
        text = json.dumps([self.decides, decides], sort_keys=True, default=str)
        return FeatureSpace(self, hashlib.sha256(text.encode()).hexdigest()[:32], dtype)

    def make_room(self, num_bytes: int, keep: Collection[Path] = ()) -> bool:
        """Remove the files that were not used for longest until `num_bytes` more fit.

        Args:
            num_bytes: Size of what is to be written.
            keep: Files to leave alone.

        Returns:
            True if they fit now; nothing is removed where they cannot.
        """
        if not num_bytes:
            return True
        # Not at every call: with the files grow both the calls and what each of them looks at.
        if self._look.shows_room(num_bytes, self.max_gb):
            return True
        files = self._files()
        held = sum(size for _, size, _ in files)
        excess = held + num_bytes - self.max_gb * 1e9
        removable = sorted(entry for entry in files if entry[2] not in keep)
        if excess > sum(size for _, size, _ in removable):
            return False
        for _, size, path in removable:
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size
            held -= size
        self._look.remember(held + num_bytes)
        return True

    def _files(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self.folder.rglob("*"):
            # What a killed process left half-written takes up room, and what adpt wrote formerly.
            if path.suffix not in (SUFFIX, PART, ".safetensors"):
                continue
            try:
                status = path.stat()
            except FileNotFoundError:  # Another process has removed it.
                continue
            if stat.S_ISREG(status.st_mode):
                found.append((status.st_mtime, status.st_size, path))
        return found


class _Look:
    """Bytes that the folder held when it was last looked at, with those to be written since."""

    def __init__(self) -> None:
        self._held, self._until = 0, 0.0

    def remember(self, held: int) -> None:
        """The folder was looked at now, and will hold so many bytes."""
        self._held, self._until = held, time.monotonic() + _LOOK_AGAIN

    def shows_room(self, num_bytes: int, max_gb: float) -> bool:
        """True if that was not long ago and so much more fits; it then counts as written."""
        if time.monotonic() >= self._until or self._held + num_bytes > max_gb * 1e9:
            return False
        self._held += num_bytes
        return True


class FeatureSpace:
    """Features of one kind; see `FeatureCache.space`."""

    def __init__(self, cache: FeatureCache, name: str, dtype: torch.dtype) -> None:
        self.cache, self.name, self.dtype = cache, name, dtype
        self.folder = cache.folder / name

    def path(self, key: str) -> Path:
        """Where the features of an image lie."""
        return self.folder / key[:2] / f"{key}{SUFFIX}"

    def present(self, keys: Sequence[str]) -> set[str]:
        """Those of some keys that are in the cache; they count as just used."""
        found = set()
        for key in keys:
            try:
                os.utime(self.path(key))
            except OSError:
                continue
            found.add(key)
        return found

    def write(self, key: str, levels: Sequence[Tensor]) -> None:
        """Keep the features of one image, each level (C, h, w).

        Raises:
            CacheFullError: The file could not be written, for instance because the disk is full.
        """
        named = {f"level_{n}": level.to(self.dtype).contiguous() for n, level in enumerate(levels)}
        tensors = save(named)
        try:
            with replacing(self.path(key)) as temporary, temporary.open("wb") as file:
                file.write(self._digest(key, tensors))
                file.write(tensors)
        except UserError as error:
            raise CacheFullError(
                f"Cannot write to the cache {self.cache.folder}: {error}"
            ) from error

    def read(self, keys: Sequence[str]) -> list[Tensor]:
        """The features of some images, one (len(keys), C, h, w) float32 tensor a level.

        Raises:
            MissingFeaturesError: One of them is not there or damaged.
        """
        levels: list[Tensor] = []
        for row, key in enumerate(keys):
            image = self._read(key)
            levels = levels or [torch.empty(len(keys), *part.shape) for part in image]
            for level, part in zip(levels, image, strict=True):
                level[row] = part
        return levels

    def _read(self, key: str) -> list[Tensor]:
        path = self.path(key)
        try:
            # Not mapped into memory: of a file that is cut short meanwhile, the process would die.
            content = memoryview(path.read_bytes())
        except FileNotFoundError as error:
            raise MissingFeaturesError(key) from error
        except OSError as error:
            self._remove(path, str(error))
            raise MissingFeaturesError(key) from error
        if content[:_DIGEST] != self._digest(key, content[_DIGEST:]):
            self._remove(path, "it is not what was written")
            raise MissingFeaturesError(key)
        tensors = load(bytes(content[_DIGEST:]))
        return [tensors[f"level_{n}"] for n in range(len(tensors))]

    def _digest(self, key: str, tensors: bytes | memoryview) -> bytes:
        """Of what is written and what for: a file in another's place is noticed as well."""
        digest = hashlib.sha256(f"{self.name} {key};".encode())
        digest.update(tensors)
        return digest.digest()

    def _remove(self, path: Path, why: str) -> None:
        log.warning("%s is damaged and is made anew: %s", path, why)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
