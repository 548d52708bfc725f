"""Tensors and text about them in a safetensors file."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from adpt.running.whole_files import replacing


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors of any device and text about them, both by name, whole or not at all.

    Raises:
        UserError: The file cannot be written, for instance because the disk is full.
    """
    whole = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        # Not by `save_file`: it puts a file of its own in the place of the one it is given, which
        # is the owner's alone, and which a kill leaves behind.
        temporary.write_bytes(save(whole, metadata=dict(metadata)))
