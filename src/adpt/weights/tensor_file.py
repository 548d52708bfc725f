"""Tensors and text about them in a safetensors file: equal content gives equal bytes."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from adpt.errors import UserError
from adpt.running.files import replacing

_METADATA = "__metadata__"


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, whole or not at all.

    Args:
        tensors: Name to tensor, of any device.
        path: The file, replaced if it exists.
        metadata: Text about them, by name.

    Raises:
        UserError: The file cannot be written, for instance because the disk is full.
    """
    whole = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    try:
        with replacing(path) as temporary:
            save_file(whole, temporary, metadata=dict(metadata))
            _sort_metadata(temporary)
    # safetensors reports a full disk by an error of its own, which is no OSError.
    except SafetensorError as error:
        raise UserError(f"Cannot write {path}: {error}.") from error


def _sort_metadata(path: Path) -> None:
    """Order the metadata by name in the file's header, which is JSON of a length stated before it.

    safetensors orders the tensors, and leaves the metadata in an order that changes at every call.
    """
    with path.open("rb+") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header[_METADATA] = dict(sorted(header[_METADATA].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        file.seek(8)
        # Nothing can be shorter, so it fits; the rest is padded, as the format wants it.
        file.write(text.ljust(length))
