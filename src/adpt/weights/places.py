"""A projector file's account of itself, without the places of the machine it was made on."""

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from adpt.data.sample import folder_key

_PERSONAL = ("logger", "run_name", "data_dir", "output_dir", "ckpt_path", "projector")
"""Parts of a config that name accounts and places alone, at any depth."""


def without_places(metadata: Mapping[str, str]) -> dict[str, str]:
    """A projector file's account of itself, to be published: without places of its machine.

    Folders of images become keys, paths below the data's root begin there, and of any other
    absolute path the last name is left. What cannot be read is left out.
    """
    told = dict(metadata)
    for name in ("config", "images"):
        if name in told:
            try:
                kept = json.loads(told[name])
                if name == "images":
                    kept = sorted(map(folder_key, kept))
                else:
                    kept = _without(kept, str(kept.get("data_dir") or ""))
                told[name] = json.dumps(kept)
            except (ValueError, TypeError, AttributeError, RecursionError):
                del told[name]
    return told


def _without(value: Any, root: str) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, root) for k, v in value.items() if k not in _PERSONAL}
    if isinstance(value, list):
        return [_without(one, root) for one in value]
    if not isinstance(value, str) or not re.match(r"[/\\~]|\.\.|[A-Za-z]:[/\\]|file:", value):
        return value
    kind = PureWindowsPath if "\\" in value else PurePosixPath
    path = kind(value)
    if root and path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return path.name
