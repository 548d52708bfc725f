"""Tensors and text about them in a safetensors file."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from adpt.errors import UserError
from adpt.running.files import replacing


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors of any device and text about them, both by name, whole or not at all.

    Raises:
        UserError: The file cannot be written, for instance because the disk is full.
    """
    whole = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    try:
        with replacing(path) as temporary:
            save_file(whole, temporary, metadata=dict(metadata))
    # safetensors reports a full disk by an error of its own, which is no OSError.
    except SafetensorError as error:
        raise UserError(f"Cannot write {path}: {error}.") from error
