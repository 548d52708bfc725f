"""YAML of the same text is parsed but once: hundreds of tests compose the same files."""

from functools import cache, lru_cache
from typing import IO, Any

import yaml
from omegaconf import _utils

_loader = lru_cache(_utils.get_yaml_loader)


class _Remembering:
    """As far as `yaml.load` knows a loader; OmegaConf copies what it is given."""

    def __init__(self, stream: str | IO[str]) -> None:
        self._stream = stream

    def get_single_data(self) -> Any:
        text = self._stream if isinstance(self._stream, str) else self._stream.read()
        try:
            return _parsed(text)
        except yaml.YAMLError:
            if not isinstance(self._stream, str):
                self._stream.seek(0)
            return _loader()(self._stream).get_single_data()  # Its error names the file.

    def dispose(self) -> None:
        pass


@cache
def _parsed(text: str) -> Any:
    return _loader()(text).get_single_data()


def remember() -> None:
    """Let OmegaConf parse each text once in this process."""
    _utils.get_yaml_loader = lambda: _Remembering
